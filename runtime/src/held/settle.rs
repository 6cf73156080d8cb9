//! Brings transitions to the store that must not be forgotten, and lets go of their rows.

use std::sync::Arc;

use tokio::time::Instant;

use super::HeldStore;
use crate::message::Half;
use crate::message::state::{Applied, Event, MessageState};
use crate::store::{Hold, StoreError, Transition};
use crate::telemetry::catalogue::{DEAD, PARKED};

/// Rows in one statement: a call may have a hundred thousand messages, and a statement ends in time.
const MOST: usize = 2048;

/// What a try made of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tried {
    /// The store says what became of it. What it made ours is surely ours until then.
    Applied(Applied, Instant),
    /// Refused for good: this row can't be stored so.
    Refused,
    /// The store failed over it, and may not the next time.
    Failed,
}

/// A row to be moved.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) transition: Transition,
    pub(crate) half: Arc<Half>,
}

impl Row {
    /// The message, with its new payload if it has one.
    pub(crate) fn amended(&self) -> Arc<Half> {
        self.half.amended(self.transition.payload.as_ref())
    }

    /// The bytes of that payload.
    pub(crate) fn size(&self) -> usize {
        self.transition.payload.as_ref().unwrap_or(&self.half.message.payload).len()
    }
}

/// Says in the log that a message waits for an operator, and counts it: once, when the store has it.
pub(crate) fn tell_operator(event: Event, transition: &Transition, applied: Applied) {
    let (id, reason) = (transition.id, transition.reason.as_deref());
    let whose = transition.counted_as.as_deref();
    match event.target() {
        MessageState::Parked if applied == Applied::Moved => {
            PARKED.one(whose.unwrap_or("nobody")).increment(1);
            tracing::error!(%id, reason, "a half message is parked: an operator must confirm or cancel it");
        }
        MessageState::Dead if applied == Applied::Moved => {
            DEAD.one(whose.unwrap_or("unknown")).increment(1);
            tracing::error!(%id, reason, "a message can't be delivered and waits for an operator");
        }
        _ => {}
    }
}

/// What is confirmed with no `hold` is anybody's at once.
fn is_for_anybody(event: Event, hold: Option<Hold>) -> bool {
    event.target() == MessageState::Confirmed && hold.is_none()
}

impl HeldStore {
    /// Applies `event`, and lets go of the rows, but for those over which the store failed. Waits out outages; but what counts
    /// on an undisturbed store is tried once.
    pub(crate) async fn settle(
        &self,
        event: Event,
        transitions: &[Transition],
        hold: Option<Hold>,
    ) -> Vec<Tried> {
        let mut tried = Vec::with_capacity(transitions.len());
        for transitions in transitions.chunks(MOST) {
            let once = transitions.iter().any(|transition| transition.undisturbed_since.is_some());
            let done = if once {
                self.each_once(transitions, |transitions| self.apply(event, transitions, hold)).await
            } else {
                self.each(transitions, |transitions| self.apply(event, transitions, hold)).await
            };
            tried.extend(self.settled(event, transitions, hold, done));
        }
        tried
    }

    async fn apply(
        &self,
        event: Event,
        transitions: &[Transition],
        hold: Option<Hold>,
    ) -> Result<Vec<(Applied, Instant)>, StoreError> {
        let freed: Vec<_> = if is_for_anybody(event, hold) {
            transitions.iter().map(|transition| transition.id).collect()
        } else {
            Vec::new()
        };
        // Taken for each try: the one that succeeds may come long after the first.
        let deadline = self.leases().deadline();
        let transition = self.store().transition(event, transitions, hold);
        let applied = self.freeing(&freed, transition).await?;
        Ok(applied.into_iter().map(|applied| (applied, deadline)).collect())
    }

    fn settled(
        &self,
        event: Event,
        transitions: &[Transition],
        hold: Option<Hold>,
        done: Vec<Result<(Applied, Instant), StoreError>>,
    ) -> Vec<Tried> {
        let of = |done| match done {
            Ok((applied, deadline)) => Tried::Applied(applied, deadline),
            Err(StoreError::Refused(_)) => Tried::Refused,
            Err(_) => Tried::Failed,
        };
        let tried: Vec<Tried> = done.into_iter().map(of).collect();
        let is_over = |tried: &Tried| match tried {
            // A database that crashed has forgotten that it was confirmed. Held on to, it would never be asked about.
            Tried::Applied(Applied::Conflict(MessageState::Half), _) if event.ends_a_delivery() => true,
            // Still to be moved; or decided by somebody else, and forgotten at the next renewal, unless a live body has
            // taken it back.
            Tried::Failed | Tried::Applied(Applied::Conflict(_), _) => false,
            // Our relay may have claimed it meanwhile.
            Tried::Applied(..) => !is_for_anybody(event, hold),
            Tried::Refused => true,
        };
        for (transition, tried) in transitions.iter().zip(&tried) {
            if let Tried::Applied(applied, _) = tried {
                tell_operator(event, transition, *applied);
            }
        }
        let over = transitions.iter().zip(&tried).filter(|(_, tried)| is_over(tried));
        self.leases().let_go(over.map(|(transition, _)| &transition.id));
        tried
    }

    /// Halves whose call took effect, and of which the store may know nothing any more: stored again where they are gone, so
    /// that whoever asks about them finds them.
    pub(crate) async fn store_again(&self, halves: &[Arc<Half>]) {
        let halves: Vec<_> = halves.iter().map(Arc::as_ref).collect();
        self.until_stored(|| self.insert(&halves)).await;
    }

    /// Rows of calls that this process has run, and over which the store failed: each is tried again, with pauses, until
    /// the store has it or refuses it for good. What is confirmed and gone is stored anew.
    pub(crate) async fn pursue(&self, event: Event, mut rows: Vec<Row>) {
        let mut failures = 0;
        while !rows.is_empty() {
            tokio::time::sleep(self.pause(failures)).await;
            failures = failures.saturating_add(1);
            let transitions: Vec<_> = rows.iter().map(|row| row.transition.clone()).collect();
            let tried = self.settle(event, &transitions, None).await;
            let mut failed = Vec::new();
            for (row, tried) in rows.into_iter().zip(tried) {
                match tried {
                    Tried::Failed => failed.push(row),
                    Tried::Applied(Applied::Missing, _) if event.target() == MessageState::Confirmed => {
                        self.store_anew(&row.amended()).await;
                    }
                    Tried::Applied(..) | Tried::Refused => {}
                }
            }
            rows = failed;
        }
    }

    /// The business action took effect, and its message is gone, as from a store that was restored or that failed over:
    /// stored anew, confirmed, for anybody.
    pub(crate) async fn store_anew(&self, half: &Half) {
        tracing::warn!(id = %half.id, function = half.function, "a half message is gone from the store; it is stored anew, confirmed");
        let halves = [half];
        let stored = self.until_stored(|| self.store().insert_confirmed(&halves, self.hold())).await;
        if stored.is_some() {
            let back = [self.release(half.id)];
            self.until_stored(|| self.store().give_back(&back)).await;
        }
    }
}
