//! Brings to the store what must not be forgotten: tries until the store has it.
//!
//! An outage is waited out. An error that may be one row's fault keeps its neighbours from nothing: they are run row by
//! row, and the row is tried again beside whatever else there is to do.

use std::sync::Arc;

use tokio::time::Instant;

use super::log_store_error;
use crate::core::Core;
use crate::message::state::{Applied, Event, MessageState};
use crate::message::{Half, MessageId};
use crate::store::{Attempts, Change, Hold, Postponement, StoreError};

/// What a try made of a row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tried {
    /// The store says what became of it. What it made ours is surely ours until then.
    Applied(Applied, Instant),
    /// Refused for good: this row can't be stored so.
    Refused,
    /// The store failed over it, and may not the next time.
    Failed,
}

/// A row to be moved.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) change: Change,
    pub(super) half: Arc<Half>,
}

impl Row {
    /// The message, with its new payload if it has one.
    pub(super) fn amended(&self) -> Arc<Half> {
        self.half.amended(self.change.payload.as_ref())
    }

    /// The bytes of that payload.
    pub(super) fn size(&self) -> usize {
        self.change.payload.as_ref().unwrap_or(&self.half.message.payload).len()
    }
}

/// Applies `event`, and lets go of the rows, but for those over which the store failed.
///
/// Rows that are confirmed for anybody, with no `hold`, are let go of before: this process, too, may claim them as soon
/// as they are there.
pub(super) async fn persist(
    core: &Core,
    worker: &'static str,
    event: Event,
    changes: &[Change],
    hold: Option<Hold>,
) -> Vec<Tried> {
    let for_anybody = event.target() == MessageState::Confirmed && hold.is_none();
    let done = each(core, worker, changes, |changes| async move {
        let freed: Vec<_> = changes.iter().filter(|_| for_anybody).map(|change| change.id).collect();
        // Taken for each try: the one that succeeds may come long after the first.
        let deadline = core.leases.deadline();
        let transition = core.store.transition(event, changes, hold);
        let applied = without_holding(core, &freed, transition).await?;
        Ok(applied.into_iter().map(|applied| (applied, deadline)).collect())
    });
    let of = |done| match done {
        Ok((applied, deadline)) => Tried::Applied(applied, deadline),
        Err(StoreError::Refused(_)) => Tried::Refused,
        Err(_) => Tried::Failed,
    };
    let tried: Vec<Tried> = done.await.into_iter().map(of).collect();
    let is_over = |tried: &Tried| match tried {
        // A database that crashed has forgotten that it was confirmed. Held on to, it would never be asked about.
        Tried::Applied(Applied::Conflict(MessageState::Half), _) if event.ends_a_delivery() => true,
        // Still to be moved; or decided by somebody else, and forgotten at the next renewal, unless a live body has taken
        // it back.
        Tried::Failed | Tried::Applied(Applied::Conflict(_), _) => false,
        // Our relay may have claimed it meanwhile.
        Tried::Applied(..) => !for_anybody,
        Tried::Refused => true,
    };
    let over = changes.iter().zip(&tried).filter(|(_, tried)| is_over(tried));
    core.leases.let_go(over.map(|(change, _)| &change.id));
    tried
}

/// Rows of calls that this process has run, and over which the store failed: each is tried again, with pauses, until
/// the store has it or refuses it for good. What is confirmed and gone is stored anew.
pub(super) async fn pursue(core: &Core, worker: &'static str, event: Event, mut rows: Vec<Row>) {
    let mut failures = 0;
    while !rows.is_empty() {
        tokio::time::sleep(core.settings.report_backoff.delay(failures)).await;
        failures = failures.saturating_add(1);
        let changes: Vec<_> = rows.iter().map(|row| row.change.clone()).collect();
        let tried = persist(core, worker, event, &changes, None).await;
        let mut failed = Vec::new();
        for (row, tried) in rows.into_iter().zip(tried) {
            match tried {
                Tried::Failed => failed.push(row),
                Tried::Applied(Applied::Missing, _) if event.target() == MessageState::Confirmed => {
                    store_anew(core, worker, &row.amended()).await;
                }
                Tried::Applied(..) | Tried::Refused => {}
            }
        }
        rows = failed;
    }
}

/// The business action took effect, and its message is gone, as from a store that was restored or that failed over:
/// stored anew, confirmed, for anybody.
pub(super) async fn store_anew(core: &Core, worker: &'static str, half: &Half) {
    tracing::warn!(id = %half.id, function = half.function, "a half message is gone from the store; it is stored anew, confirmed");
    let hold = core.leases.hold();
    let halves = [half];
    let stored = until_stored(core, worker, || core.store.insert_confirmed(&halves, hold)).await;
    if stored.is_some() {
        let after = std::time::Duration::ZERO;
        let back =
            Postponement { id: half.id, held_by: hold.token, after, attempts: Attempts::Keep, reason: None };
        until_stored(core, worker, || core.store.give_back(std::slice::from_ref(&back))).await;
    }
}

/// Gives rows back. Returns those over which the store failed.
pub(super) async fn give_back(
    core: &Core,
    worker: &'static str,
    back: Vec<Postponement>,
) -> Vec<Postponement> {
    let tried = each(core, worker, &back, |back| async move {
        let ids: Vec<_> = back.iter().map(|one| one.id).collect();
        without_holding(core, &ids, core.store.give_back(back)).await?;
        Ok(vec![(); back.len()])
    })
    .await;
    let (failed, over): (Vec<_>, Vec<_>) =
        back.into_iter().zip(tried).partition(|(_, tried)| matches!(tried, Err(StoreError::Unexpected(_))));
    // What is given back is nobody's; what was refused lapses.
    let refused = over.iter().filter(|(_, tried)| tried.is_err());
    core.leases.let_go(refused.map(|(one, _)| &one.id));
    failed.into_iter().map(|(one, _)| one).collect()
}

/// Leaves halves of calls that have ended to the store, to be asked about: stored again first, should they be gone
/// from it, since from here on only the store knows of them. Returns those over which the store failed.
pub(super) async fn leave(
    core: &Core,
    worker: &'static str,
    halves: Vec<(Arc<Half>, Postponement)>,
) -> Vec<(Arc<Half>, Postponement)> {
    let stored = each(core, worker, &halves, |halves| async move {
        let rows: Vec<&Half> = halves.iter().map(|(half, _)| &**half).collect();
        core.store.insert_halves(&rows, core.leases.hold()).await?;
        Ok(vec![(); halves.len()])
    })
    .await;
    let (mut there, mut failed) = (Vec::new(), Vec::new());
    for ((half, back), stored) in halves.into_iter().zip(stored) {
        match stored {
            Err(StoreError::Unexpected(_)) => failed.push((half, back)),
            _ => there.push((half, back)),
        }
    }
    let not_back = give_back(core, worker, there.iter().map(|(_, back)| back.clone()).collect()).await;
    failed.extend(there.into_iter().filter(|(_, back)| not_back.iter().any(|one| one.id == back.id)));
    failed
}

/// The same until the store has each of them.
pub(super) async fn leave_all(core: &Core, worker: &'static str, mut halves: Vec<(Arc<Half>, Postponement)>) {
    let mut tries = 0;
    while !halves.is_empty() {
        halves = leave(core, worker, halves).await;
        if !halves.is_empty() {
            tokio::time::sleep(core.settings.report_backoff.delay(tries)).await;
            tries = tries.saturating_add(1);
        }
    }
}

/// Runs a statement about many rows, and waits out outages. When it fails in a way that may be one row's fault, each
/// is run by itself, so that a poison row fails alone.
async fn each<'r, R, T, Fut>(
    core: &Core,
    worker: &'static str,
    rows: &'r [R],
    statement: impl Fn(&'r [R]) -> Fut,
) -> Vec<Result<T, StoreError>>
where
    Fut: Future<Output = Result<Vec<T>, StoreError>>,
{
    if rows.is_empty() {
        return Vec::new();
    }
    match until_answered(core, worker, || statement(rows)).await {
        Ok(done) => return done.into_iter().map(Ok).collect(),
        Err(error) if rows.len() == 1 => return vec![Err(error)],
        Err(_) => {}
    }
    let mut done = Vec::with_capacity(rows.len());
    for row in rows.chunks(1) {
        let one = until_answered(core, worker, || statement(row)).await;
        done.push(one.and_then(|one| {
            one.into_iter().next().ok_or_else(|| StoreError::Unexpected("the store gave no answer".into()))
        }));
    }
    done
}

/// Tries until the store answers. An error that comes back may be about just this.
async fn until_answered<T, Fut>(
    core: &Core,
    worker: &'static str,
    attempt: impl Fn() -> Fut,
) -> Result<T, StoreError>
where
    Fut: Future<Output = Result<T, StoreError>>,
{
    let mut tries = 0;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => {
                log_store_error(worker, &error);
                if error.may_be_one_rows() {
                    return Err(error);
                }
            }
        }
        tokio::time::sleep(core.settings.report_backoff.delay(tries)).await;
        tries = tries.saturating_add(1);
    }
}

/// Tries until the store has it. `None`: it refused, and will refuse again.
async fn until_stored<T, Fut>(core: &Core, worker: &'static str, attempt: impl Fn() -> Fut) -> Option<T>
where
    Fut: Future<Output = Result<T, StoreError>>,
{
    let mut tries = 0;
    loop {
        match until_answered(core, worker, &attempt).await {
            Ok(value) => return Some(value),
            Err(StoreError::Refused(_)) => return None,
            Err(_) => tokio::time::sleep(core.settings.report_backoff.delay(tries)).await,
        }
        tries = tries.saturating_add(1);
    }
}

/// Runs a statement that frees rows, and holds those again that it did not: what is due again must not look as if it
/// were still being worked on, and what is not must not lapse. Whether they are surely ours, the next renewal tells.
async fn without_holding<T>(
    core: &Core,
    ids: &[MessageId],
    statement: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let held: Vec<_> = ids.iter().filter(|id| core.leases.holds(id)).copied().collect();
    core.leases.let_go(ids);
    let done = statement.await;
    if done.is_err() {
        core.leases.took(held, Instant::now());
    }
    done
}
