//! Delivery: relays claim confirmed messages, publish, and note what became of them.

use super::rules::{BUDGET, Bug, May};
use super::steps::{At, Cause, Steps};
use super::world::{Asker, Call, Change, Holder, Message, Published, Relay};
use crate::message::state::{Event, MessageState};
use crate::rules::answer::{PublishVerdict, after_publish};
use crate::telemetry::labels::NotDelivered;
use crate::transport::PublishResult;

use Cause::{Fault, System};

pub(super) const TOKENS: [Holder; 2] = [Holder::Process, Holder::Relay];

pub(super) fn steps(out: &mut Steps<'_>, at: At, call: &Call, message: &Message) {
    for (number, relay) in message.relays.into_iter().enumerate() {
        // The first is in the body's process; the last is in one that is always there.
        let works = if number == 0 { out.world.alive && out.model.relays > 1 } else { true };
        match relay {
            Relay::Idle => {
                if works && !(number == 0 && is_held(out, call, message)) {
                    claim(out, at, message, number);
                }
            }
            Relay::Publishing { attempt, .. } => publish(out, at, number, attempt),
            Relay::Noting { attempt, publication } => note(out, at, number, attempt, publication),
        }
        if relay != Relay::Idle && out.model.may(May::Fail) {
            out.message(at, Fault, "the relay dies, or loses the row", |message, _| {
                message.relays[number] = Relay::Idle;
                message.abandon(TOKENS[number]);
            });
        }
    }
}

/// Whether the body's process counts the row among those that it works on.
pub(super) fn is_held(out: &Steps<'_>, call: &Call, message: &Message) -> bool {
    let busy = message.report.is_some() || message.own == Asker::Awaiting || message.relays[0] != Relay::Idle;
    out.world.alive && message.row.is_some() && (call.is_live() || busy)
}

fn claim(out: &mut Steps<'_>, at: At, message: &Message, number: usize) {
    let Some(row) = message.row else { return };
    if row.state != MessageState::Confirmed || !row.due {
        return;
    }
    out.message(at, System, "a relay claims the message", |message, _| {
        message.hold(TOKENS[number]);
        message.relays[number] = Relay::Publishing { attempt: row.attempts + 1, amended: row.amended };
    });
}

fn publish(out: &mut Steps<'_>, at: At, number: usize, attempt: u8) {
    let noting = |publication| Relay::Noting { attempt, publication };
    if out.model.has(Bug::MarkedBeforeAcknowledged) {
        out.message(at, System, "marked as delivered, before the publish", |message, model| {
            message.transition(model, Event::Acknowledged, Change::PLAIN);
        });
    }
    out.message(at, System, "published, and acknowledged", |message, _| {
        message.acknowledged = true;
        message.relays[number] = noting(Published::Acknowledged);
    });
    if out.model.may(May::FailDelivery) {
        out.message(at, Fault, "published in vain, or without an answer", |message, _| {
            message.relays[number] = noting(Published::Failed);
        });
        out.message(at, Fault, "nobody takes messages now", |message, _| {
            message.relays[number] = noting(Published::NotNow);
        });
    }
}

fn note(out: &mut Steps<'_>, at: At, number: usize, attempt: u8, publication: Published) {
    let token = TOKENS[number];
    let publication = match publication {
        Published::Acknowledged => PublishResult::Acknowledged,
        Published::Failed => PublishResult::Failed(NotDelivered::Nacked, String::new()),
        Published::NotNow => PublishResult::NotNow(String::new()),
    };
    let fate = after_publish(&publication, attempt.into(), BUDGET);
    let what = match fate {
        PublishVerdict::Delivered => "marked as delivered",
        PublishVerdict::Dead => "dead: its attempts are used up",
        PublishVerdict::Again | PublishVerdict::AgainUncounted => "given back, to be delivered later",
    };
    out.message(at, System, what, |message, model| {
        match fate {
            PublishVerdict::Delivered => {
                message.transition(model, Event::Acknowledged, Change::PLAIN);
            }
            PublishVerdict::Dead => {
                message.transition(model, Event::GiveUp, Change { held_by: Some(token), ..Change::PLAIN });
            }
            PublishVerdict::Again => message.release(token, true),
            PublishVerdict::AgainUncounted => message.release(token, false),
        }
        message.relays[number] = Relay::Idle;
        message.abandon(token);
    });
}
