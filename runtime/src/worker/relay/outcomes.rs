//! What became of publishes, brought to the store: delivered, again later, or dead.

use metrics::Counter;
use tokio::time::Instant;

use crate::fault;
use crate::held::{HeldStore, Tried};
use crate::message::MessageId;
use crate::message::state::{Applied, Event, MessageState};
use crate::rules::answer::{PublishVerdict, after_publish};
use crate::settings::Backoff;
use crate::store::{Attempts, Release, Transition};
use crate::telemetry;
use crate::telemetry::catalogue::{BATCH_MESSAGES, DELIVERED, DELIVERY_FAILURES, EXPIRED};
use crate::telemetry::labels::{Batch, NotDelivered};
use crate::transport::{Outgoing, PublishResult};
use crate::worker::pauses::InForce;

/// What is to be recorded about a message that was published.
#[derive(Clone, Debug)]
pub(super) enum Recorded {
    /// And what counts it then.
    Delivered(Transition, Counter),
    Again(Release),
    Dead(Transition),
    Expired(Transition),
}

/// How often a delivery is tried, and with which pauses.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetryPolicy {
    pub(super) attempts: u32,
    pub(super) backoff: Backoff,
}

/// Decides what is to be recorded, and says so.
pub(super) fn judge(
    held: &HeldStore,
    policy: RetryPolicy,
    outgoing: &Outgoing,
    result: PublishResult,
) -> Recorded {
    let Outgoing { half, attempt, .. } = outgoing;
    let (id, attempt) = (half.id, *attempt);
    let verdict = after_publish(&result, attempt, policy.attempts);
    let backoff = policy.backoff;
    let asked_for = match result {
        PublishResult::FailedFor(pause, _) => Some(pause),
        _ => None,
    };
    let uncounted_pause = match result {
        // It may take as long again until a process that can read it is deployed.
        PublishResult::Paused(lasts, _) => lasts,
        PublishResult::NotHere(_) => half.age().min(backoff.delay(u32::MAX)).max(backoff.delay(0)),
        _ => backoff.delay(0),
    };
    let exchange = &half.message.exchange;
    let (kind, reason) = match result {
        PublishResult::Acknowledged => {
            return Recorded::Delivered(Transition::of(id), DELIVERED.one(exchange));
        }
        PublishResult::Unroutable(why) => (NotDelivered::Unroutable, format!("unroutable: {why}")),
        PublishResult::Failed(kind, why) | PublishResult::Refused(kind, why) => (kind, why),
        PublishResult::NotNow(why)
        | PublishResult::Paused(_, why)
        | PublishResult::NotHere(why)
        | PublishResult::FailedFor(_, why) => (NotDelivered::Handler, why),
    };
    let again = |after, attempts, reason: String| {
        let held_by = held.token();
        Recorded::Again(Release { id, held_by, after, attempts, reason: Some(reason.into()) })
    };
    if verdict == PublishVerdict::AgainUncounted {
        return again(uncounted_pause, Attempts::Keep, reason);
    }
    DELIVERY_FAILURES.pick(exchange, kind).increment(1);
    if verdict == PublishVerdict::Dead {
        return Recorded::Dead(dead(held, id, reason).counted_as(exchange));
    }
    let after = asked_for.map(|pause| pause.max(backoff.delay(0)));
    let after = after.unwrap_or_else(|| backoff.delay(attempt.saturating_sub(1)));
    tracing::warn!(%id, attempt, reason, retry_in = ?after, "a message was not delivered");
    again(after, Attempts::Spend, reason)
}

/// Records what became of messages. Returns what the store failed over.
pub(super) async fn record(held: &HeldStore, outcomes: Vec<Recorded>) -> Vec<Recorded> {
    BATCH_MESSAGES.at(Batch::Relay).record(telemetry::count(outcomes.len()));
    let (mut delivered, mut again, mut dead, mut expired) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut counters = Vec::new();
    for outcome in outcomes {
        match outcome {
            Recorded::Delivered(transition, counter) => {
                delivered.push(transition);
                counters.push(counter);
            }
            Recorded::Again(back) => again.push(back),
            Recorded::Dead(transition) => dead.push(transition),
            Recorded::Expired(transition) => expired.push(transition),
        }
    }
    let mut failed = Vec::new();
    if !delivered.is_empty() {
        // What is not recorded is published again: a duplicate, no loss.
        let marked = held.settle(Event::Acknowledged, &delivered, None);
        let marked = fault::pending("mark-sent", marked).await;
        for (transition, _) in delivered.iter().zip(&marked).filter(|(_, tried)| is_forgotten(tried)) {
            tracing::warn!(
                id = %transition.id,
                "the message store has forgotten that a message was confirmed, as in a crash: it is asked about, and delivered again"
            );
        }
        fault::point("marked");
        for ((transition, counter), tried) in delivered.into_iter().zip(counters).zip(marked) {
            if matches!(tried, Tried::Failed) {
                failed.push(Recorded::Delivered(transition, counter));
            } else {
                counter.increment(1);
            }
        }
    }
    if !dead.is_empty() {
        let buried = held.settle(Event::GiveUp, &dead, None).await;
        failed.extend(failed_of(dead, &buried).into_iter().map(Recorded::Dead));
    }
    if !expired.is_empty() {
        let ended = held.settle(Event::Expire, &expired, None).await;
        let is_moved = |tried: &&Tried| matches!(tried, Tried::Applied(Applied::Moved, _));
        let count = ended.iter().filter(is_moved).count();
        if count > 0 {
            EXPIRED.get().increment(count as u64);
            tracing::info!(count, "messages expired before they could be delivered");
        }
        failed.extend(failed_of(expired, &ended).into_iter().map(Recorded::Expired));
    }
    failed.extend(held.give_back(again).await.into_iter().map(Recorded::Again));
    failed
}

const fn is_forgotten(tried: &Tried) -> bool {
    matches!(tried, Tried::Applied(Applied::Conflict(MessageState::Half), _))
}

/// Those over which the store failed.
fn failed_of(transitions: Vec<Transition>, tried: &[Tried]) -> Vec<Transition> {
    let failed = transitions.into_iter().zip(tried).filter(|(_, tried)| matches!(tried, Tried::Failed));
    failed.map(|(transition, _)| transition).collect()
}

fn dead(held: &HeldStore, id: MessageId, reason: String) -> Transition {
    Transition::of(id).held_by(held.token()).because(reason)
}

/// A message that is not delivered now, since a person wants it so: after the pause. Written once a pause, however many there are.
pub(super) fn put_off(held: &HeldStore, id: MessageId, pause: &InForce) -> Recorded {
    let after = pause.until.saturating_duration_since(Instant::now());
    let reason = Some(pause.reason.clone().into());
    Recorded::Again(Release { id, held_by: held.token(), after, attempts: Attempts::Keep, reason })
}

/// A message that is late.
pub(super) fn expired(held: &HeldStore, id: MessageId) -> Recorded {
    Recorded::Expired(Transition::of(id).held_by(held.token()))
}

/// A message that was claimed, and can't be read. Should the store fail over it, it lapses, and is claimed again.
pub(super) async fn bury(held: &HeldStore, id: MessageId, reason: String) {
    held.settle(Event::GiveUp, &[dead(held, id, reason)], None).await;
}
