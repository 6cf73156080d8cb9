//! Questions to a fence, and what its verdicts mean for the halves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::asker::{Asker, back, count};
use crate::fault;
use crate::fence::FenceDatabase;
use crate::fence::verdict::Verdict;
use crate::held::Row;
use crate::message::state::Event;
use crate::message::{CallId, FenceId, Half, MessageId};
use crate::store::{Attempts, Token, Transition};
use crate::telemetry::catalogue::{CHECK_BACK_DURATION, OVERRULED};
use crate::telemetry::labels::Overruler;

/// A half to be settled by its fence.
pub(super) struct UnresolvedHalf {
    pub(super) half: Arc<Half>,
    pub(super) held_by: Token,
    pub(super) attempts: u32,
    /// Its body was told that its transaction is committed.
    pub(super) committed: bool,
}

/// What a fence says about calls, and the store's [`troubles`](crate::store::Store::troubles) before it was asked: should
/// another server take over since, the fence may say something else.
#[derive(Debug)]
pub(super) struct Verdicts<T> {
    pub(super) undisturbed_since: u64,
    pub(super) of: Vec<T>,
}

/// Asks a fence about several halves.
pub(super) async fn ask_fence(
    asker: &Asker,
    identity: FenceId,
    halves: &[UnresolvedHalf],
) -> Verdicts<Verdict> {
    let undisturbed_since = asker.held.store().troubles();
    let began = Instant::now();
    let of = match asker.fences.by_identity(identity) {
        Some(fence) => {
            let calls: Vec<_> = halves.iter().map(|unresolved| unresolved.half.call_id).collect();
            fault::pending("tombstone-sent", ask(fence.as_ref(), identity, &calls)).await
        }
        None => {
            vec![Verdict::Unknown("this process does not have the fence's database".into()); halves.len()]
        }
    };
    let name = asker.fences.name(identity).unwrap_or("unknown");
    CHECK_BACK_DURATION.one(name).record(began.elapsed());
    fault::point("tombstone-in");
    Verdicts { undisturbed_since, of }
}

/// Applies a fence's verdicts about halves that were claimed. What the store does not take is given back.
pub(super) async fn settle_claimed(asker: &Asker, halves: Vec<UnresolvedHalf>, verdicts: Verdicts<Verdict>) {
    let refused = apply_verdicts(asker, halves, verdicts, false).await;
    let pause = asker.held.pause(0);
    let back = |one: UnresolvedHalf| back(one.half.id, one.held_by, pause, Attempts::Keep, None);
    // What the store fails over lapses, and is asked about again.
    asker.held.give_back(refused.into_iter().map(back).collect()).await;
}

/// Applies a fence's verdicts about calls that this process has just run, until the store has taken them: it may have lost the
/// halves, as one that was restored or that failed over, and then nobody else would ask. What it did not take may not be so any
/// more: the fence is asked again.
pub(super) async fn settle_own(
    asker: &Asker,
    fence: FenceId,
    mut halves: Vec<UnresolvedHalf>,
    mut verdicts: Verdicts<Verdict>,
) {
    let mut tries = 0;
    loop {
        halves = apply_verdicts(asker, halves, verdicts, true).await;
        if halves.is_empty() {
            return;
        }
        tokio::time::sleep(asker.held.pause(tries)).await;
        tries = tries.saturating_add(1);
        let again: Vec<_> = halves.iter().map(|unresolved| Arc::clone(&unresolved.half)).collect();
        asker.held.store_again(&again).await;
        verdicts = ask_fence(asker, fence, &halves).await;
    }
}

/// Returns those that the store did not take.
async fn apply_verdicts(
    asker: &Asker,
    halves: Vec<UnresolvedHalf>,
    verdicts: Verdicts<Verdict>,
    live: bool,
) -> Vec<UnresolvedHalf> {
    let Verdicts { undisturbed_since, of: verdicts } = verdicts;
    let mut settled: HashMap<(Event, bool), Vec<Row>> = HashMap::new();
    let mut unsettled = Vec::new();
    let held: HashMap<MessageId, (Token, u32, bool)> =
        halves.iter().map(|one| (one.half.id, (one.held_by, one.attempts, one.committed))).collect();
    for (unresolved, verdict) in halves.into_iter().zip(verdicts) {
        count(asker.name_of(&unresolved.half.answered_by), verdict.outcome());
        let overruled = unresolved.committed && verdict == Verdict::Closed;
        if overruled {
            OVERRULED.at(Overruler::Fence).increment(1);
        }
        // What the body itself would have reported outranks more than a check-back's answer.
        let event = match verdict.event() {
            Some(Event::CheckBackConfirms) if live => Some(Event::BodyConfirms),
            event => event,
        };
        let (payload, why) = match verdict {
            Verdict::Committed { amended } => (amended, "the fence: committed".to_owned()),
            Verdict::Withheld => (None, "the fence: nothing to send".into()),
            // `tm list --because overruled` finds it.
            Verdict::Closed if overruled => (
                None,
                "the fence: not committed, and closed; it overruled the process that had committed".into(),
            ),
            Verdict::Closed => (None, "the fence: not committed, and closed".into()),
            Verdict::Unknown(why) => (None, why),
        };
        match event {
            Some(event) => {
                let transition = Transition::of(unresolved.half.id)
                    .amended(payload)
                    .because(why)
                    .undisturbed_since(undisturbed_since);
                let is_ours = asker.is_for_our_relay(&unresolved.half);
                settled.entry((event, is_ours)).or_default().push(Row { transition, half: unresolved.half });
            }
            None => unsettled.push((unresolved, why)),
        }
    }
    let mut refused = Vec::new();
    for ((event, _), settled) in settled {
        for Row { half, .. } in asker.decide(event, settled, live).await {
            let (held_by, attempts, committed) = held[&half.id];
            refused.push(UnresolvedHalf { half, held_by, attempts, committed });
        }
    }
    ask_again(asker, unsettled, live).await;
    refused
}

/// A fence gave no answer. Messages that this process has in memory are stored again first.
async fn ask_again(asker: &Asker, unsettled: Vec<(UnresolvedHalf, String)>, live: bool) {
    let back = unsettled.into_iter().map(|(unresolved, why)| {
        let UnresolvedHalf { half, held_by, attempts, .. } = unresolved;
        let after = asker.settings.check_back_backoff.delay(attempts);
        tracing::info!(id = %half.id, why, retry_in = ?after, "a fence gave no answer yet");
        let back = back(half.id, held_by, after, Attempts::Spend, why);
        (half, back)
    });
    let back: Vec<_> = back.collect();
    if live {
        asker.held.leave_all(back).await;
    } else {
        // What the store fails over lapses, and is asked about again.
        asker.held.give_back(back.into_iter().map(|(_, back)| back).collect()).await;
    }
}

async fn ask(fence: &dyn FenceDatabase, identity: FenceId, calls: &[CallId]) -> Vec<Verdict> {
    if !fault::bug("fence-read") {
        return fence.ask(identity, calls).await;
    }
    let mut verdicts = Vec::new();
    for call in calls {
        verdicts.push(fence.read(identity, *call).await.unwrap_or(Verdict::Closed));
    }
    verdicts
}
