//! Questions to a fence, and what its verdicts mean for the halves.

use std::collections::HashMap;
use std::sync::Arc;

use super::asker::{Asker, back, count};
use crate::fault;
use crate::fence::FenceDatabase;
use crate::fence::verdict::Verdict;
use crate::held::Row;
use crate::message::state::Event;
use crate::message::{CallId, FenceId, Half};
use crate::store::{Attempts, Token, Transition};

/// A half to be settled by its fence.
pub(super) struct UnresolvedHalf {
    pub(super) half: Arc<Half>,
    pub(super) held_by: Token,
    pub(super) attempts: u32,
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
    let of = match asker.fences.by_identity(identity) {
        Some(fence) => {
            let calls: Vec<_> = halves.iter().map(|unresolved| unresolved.half.call_id).collect();
            fault::pending("tombstone-sent", ask(fence.as_ref(), identity, &calls)).await
        }
        None => {
            vec![Verdict::Unknown("this process does not have the fence's database".into()); halves.len()]
        }
    };
    fault::point("tombstone-in");
    Verdicts { undisturbed_since, of }
}

/// Applies a fence's verdicts. About calls that this process has just run, `live`, they are kept until the store has
/// them: it may have lost the halves, as one that was restored or that failed over, and then nobody else would ask.
pub(super) async fn apply_verdicts(
    asker: &Asker,
    halves: Vec<UnresolvedHalf>,
    verdicts: Verdicts<Verdict>,
    live: bool,
) {
    let Verdicts { undisturbed_since, of: verdicts } = verdicts;
    let mut settled: HashMap<(Event, bool), Vec<Row>> = HashMap::new();
    let mut unsettled = Vec::new();
    for (unresolved, verdict) in halves.into_iter().zip(verdicts) {
        count(verdict.outcome());
        // What the body itself would have reported outranks more than a check-back's answer.
        let event = match verdict.event() {
            Some(Event::CheckBackConfirms) if live => Some(Event::BodyConfirms),
            event => event,
        };
        let (payload, why) = match verdict {
            Verdict::Committed { amended } => (amended, "the fence: committed".to_owned()),
            Verdict::Withheld => (None, "the fence: nothing to send".into()),
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
    for ((event, _), settled) in settled {
        let failed = asker.decide(event, settled, live).await;
        if live {
            let again =
                |row: Row| UnresolvedHalf { half: row.half, held_by: asker.held.token(), attempts: 0 };
            let why = "the store did not take the fence's answer";
            unsettled.extend(failed.into_iter().map(|row| (again(row), why.to_owned())));
        }
    }
    ask_again(asker, unsettled, live).await;
}

/// A fence gave no answer. Messages that this process has in memory are stored again first.
async fn ask_again(asker: &Asker, unsettled: Vec<(UnresolvedHalf, String)>, live: bool) {
    let back = unsettled.into_iter().map(|(unresolved, why)| {
        let UnresolvedHalf { half, held_by, attempts } = unresolved;
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
