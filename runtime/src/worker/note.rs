//! What became of publishes, brought to the store: delivered, again later, or dead.

use super::Worker;
use super::answer::{Fate, after_publish};
use super::log_store_error;
use super::persist::persist;
use super::relay::Relay;
use crate::core::Core;
use crate::fault;
use crate::message::state::Event;
use crate::message::{MessageId, age};
use crate::store::{Attempts, Change, Postponement};
use crate::transport::Publication;

const WORKER: &str = Relay::NAME;

/// A message whose fate is known.
#[derive(Clone, Debug)]
pub(super) struct Published {
    pub(super) id: MessageId,
    pub(super) attempt: u32,
    pub(super) publication: Publication,
}

/// Notes what became of messages.
pub(super) async fn note(core: &Core, published: Vec<Published>) {
    let (acknowledged, failed): (Vec<_>, Vec<_>) =
        published.into_iter().partition(|one| one.publication == Publication::Acknowledged);
    if !acknowledged.is_empty() {
        let changes: Vec<_> = acknowledged.iter().map(|one| Change::of(one.id)).collect();
        // What is not noted is published again: a duplicate, no loss.
        let marked = persist(core, WORKER, Event::Acknowledged, &changes, None);
        fault::pending("mark-sent", marked).await;
        fault::point("marked");
        metrics::counter!("transactional_message_delivered_total").increment(changes.len() as u64);
    }
    let mut back = Vec::new();
    for one in failed {
        back.extend(failure(core, one).await);
    }
    give_back(core, &back).await;
}

/// When a message that was not delivered is tried again, unless it is dead.
async fn failure(core: &Core, one: Published) -> Option<Postponement> {
    let Published { id, attempt, publication } = one;
    let fate = after_publish(&publication, attempt, core.settings.delivery_attempts);
    let backoff = core.settings.delivery_backoff;
    let uncounted_pause = match publication {
        // It may take as long again until a process that can read it is deployed.
        Publication::NotHere(_) => age(id).min(backoff.delay(u32::MAX)).max(backoff.delay(0)),
        _ => backoff.delay(0),
    };
    let reason = match publication {
        Publication::Acknowledged => return None,
        Publication::Unroutable(why) => format!("unroutable: {why}"),
        Publication::NotNow(why)
        | Publication::NotHere(why)
        | Publication::Failed(why)
        | Publication::Refused(why) => why,
    };
    let again = |after, attempts, reason: String| {
        Some(Postponement { id, held_by: core.leases.token(), after, attempts, reason: Some(reason.into()) })
    };
    if fate == Fate::AgainUncounted {
        return again(uncounted_pause, Attempts::Keep, reason);
    }
    metrics::counter!("transactional_message_delivery_failures_total").increment(1);
    if fate == Fate::Dead {
        tracing::error!(%id, attempt, reason, "a message can't be delivered and waits for a person");
        bury(core, id, reason).await;
        return None;
    }
    let after = backoff.delay(attempt.saturating_sub(1));
    tracing::warn!(%id, attempt, reason, retry_in = ?after, "a message was not delivered");
    again(after, Attempts::Spend, reason)
}

pub(super) async fn bury(core: &Core, id: MessageId, reason: String) {
    let change = Change::of(id).held_by(core.leases.token()).because(reason);
    persist(core, WORKER, Event::GiveUp, &[change], None).await;
}

async fn give_back(core: &Core, back: &[Postponement]) {
    if back.is_empty() {
        return;
    }
    // First: what is due again must not look as if it were still being worked on.
    core.leases.let_go(back.iter().map(|one| &one.id));
    if let Err(error) = core.store.postpone(back).await {
        // Not given back, they lapse; no more is lost than the count of this attempt.
        log_store_error(WORKER, &error);
    }
}
