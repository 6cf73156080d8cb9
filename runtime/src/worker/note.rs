//! What became of publishes, brought to the store: delivered, again later, or dead.

use super::Worker;
use super::answer::{Fate, after_publish};
use super::persist::{Tried, give_back, persist};
use super::relay::Relay;
use crate::core::Core;
use crate::fault;
use crate::message::state::{Applied, Event, MessageState};
use crate::message::{MessageId, age};
use crate::store::{Attempts, Change, Postponement};
use crate::transport::Publication;

const WORKER: &str = Relay::NAME;

/// What is to be noted about a message whose fate is known.
#[derive(Clone, Debug)]
pub(super) enum Note {
    Delivered(Change),
    Again(Postponement),
    Dead(Change),
}

/// Decides what is to be noted, and says so.
pub(super) fn fate(core: &Core, id: MessageId, attempt: u32, publication: Publication) -> Note {
    let fate = after_publish(&publication, attempt, core.settings.delivery_attempts);
    let backoff = core.settings.delivery_backoff;
    let uncounted_pause = match publication {
        // It may take as long again until a process that can read it is deployed.
        Publication::NotHere(_) => age(id).min(backoff.delay(u32::MAX)).max(backoff.delay(0)),
        _ => backoff.delay(0),
    };
    let reason = match publication {
        Publication::Acknowledged => return Note::Delivered(Change::of(id)),
        Publication::Unroutable(why) => format!("unroutable: {why}"),
        Publication::NotNow(why)
        | Publication::NotHere(why)
        | Publication::Failed(why)
        | Publication::Refused(why) => why,
    };
    let again = |after, attempts, reason: String| {
        let held_by = core.leases.token();
        Note::Again(Postponement { id, held_by, after, attempts, reason: Some(reason.into()) })
    };
    if fate == Fate::AgainUncounted {
        return again(uncounted_pause, Attempts::Keep, reason);
    }
    metrics::counter!("transactional_message_delivery_failures_total").increment(1);
    if fate == Fate::Dead {
        tracing::error!(%id, attempt, reason, "a message can't be delivered and waits for a person");
        return Note::Dead(dead(core, id, reason));
    }
    let after = backoff.delay(attempt.saturating_sub(1));
    tracing::warn!(%id, attempt, reason, retry_in = ?after, "a message was not delivered");
    again(after, Attempts::Spend, reason)
}

/// Notes what became of messages. Returns what the store failed over.
pub(super) async fn note(core: &Core, notes: Vec<Note>) -> Vec<Note> {
    let (mut delivered, mut again, mut dead) = (Vec::new(), Vec::new(), Vec::new());
    for note in notes {
        match note {
            Note::Delivered(change) => delivered.push(change),
            Note::Again(back) => again.push(back),
            Note::Dead(change) => dead.push(change),
        }
    }
    let mut failed = Vec::new();
    if !delivered.is_empty() {
        // What is not noted is published again: a duplicate, no loss.
        let marked = persist(core, WORKER, Event::Acknowledged, &delivered, None);
        let marked = fault::pending("mark-sent", marked).await;
        for (change, _) in delivered.iter().zip(&marked).filter(|(_, tried)| is_forgotten(tried)) {
            tracing::warn!(
                id = %change.id,
                "the message store has forgotten that a message was confirmed, as in a crash: it is asked about, and delivered again"
            );
        }
        fault::point("marked");
        let (done, not_done) = (delivered.len(), failed_of(delivered, &marked));
        metrics::counter!("transactional_message_delivered_total").increment((done - not_done.len()) as u64);
        failed.extend(not_done.into_iter().map(Note::Delivered));
    }
    if !dead.is_empty() {
        let buried = persist(core, WORKER, Event::GiveUp, &dead, None).await;
        failed.extend(failed_of(dead, &buried).into_iter().map(Note::Dead));
    }
    failed.extend(give_back(core, WORKER, again).await.into_iter().map(Note::Again));
    failed
}

const fn is_forgotten(tried: &Tried) -> bool {
    matches!(tried, Tried::Applied(Applied::Conflict(MessageState::Half), _))
}

/// Those over which the store failed.
fn failed_of(changes: Vec<Change>, tried: &[Tried]) -> Vec<Change> {
    let failed = changes.into_iter().zip(tried).filter(|(_, tried)| matches!(tried, Tried::Failed));
    failed.map(|(change, _)| change).collect()
}

fn dead(core: &Core, id: MessageId, reason: String) -> Change {
    Change::of(id).held_by(core.leases.token()).because(reason)
}

/// A message that was claimed, and can't be read. Should the store fail over it, it lapses, and is claimed again.
pub(super) async fn bury(core: &Core, id: MessageId, reason: String) {
    persist(core, WORKER, Event::GiveUp, &[dead(core, id, reason)], None).await;
}
