//! What must hold: at every moment, over every step, and when nothing more happens by itself.

use super::environment::is_known;
use super::rules::Model;
use super::world::{Asker, Body, Call, Fence, Holder, Message, Relay, Truth, World};
use crate::message::state::MessageState;

/// The arrows of the diagram in `message/state.rs`.
const ARROWS: [(MessageState, MessageState); 10] = [
    (MessageState::Half, MessageState::Confirmed),
    (MessageState::Half, MessageState::Cancelled),
    (MessageState::Half, MessageState::Parked),
    (MessageState::Cancelled, MessageState::Confirmed),
    (MessageState::Parked, MessageState::Confirmed),
    (MessageState::Parked, MessageState::Cancelled),
    (MessageState::Confirmed, MessageState::Delivered),
    (MessageState::Confirmed, MessageState::Dead),
    (MessageState::Dead, MessageState::Confirmed),
    (MessageState::Dead, MessageState::Delivered),
];

pub(super) type Broken = Option<&'static str>;

/// At every moment.
pub(super) fn at_a_moment(model: &Model, world: &World) -> Broken {
    for call in world.calls.iter().flatten() {
        for message in call.messages() {
            let broken = of_a_message(model, world, call, message);
            if broken.is_some() {
                return broken;
            }
        }
    }
    None
}

fn of_a_message(model: &Model, world: &World, call: &Call, message: &Message) -> Broken {
    for relay in message.relays {
        if let Relay::Publishing { amended, .. } = relay
            && !message.vouched
        {
            match call.truth {
                Truth::Nothing => return Some("what is delivered took effect"),
                Truth::TookEffect { withheld: true, .. } => return Some("what is withheld is not delivered"),
                Truth::TookEffect { amended: truly, .. } if truly != amended => {
                    return Some("what is delivered has the payload that was committed");
                }
                Truth::TookEffect { .. } => {}
            }
        }
    }
    let row = message.row?;
    let confirmed =
        matches!(row.state, MessageState::Confirmed | MessageState::Delivered | MessageState::Dead);
    if confirmed && call.fence == Fence::Tombstone && !message.vouched {
        return Some("nothing is confirmed and fenced at once");
    }
    if row.state == MessageState::Delivered && !message.acknowledged {
        return Some("what counts as delivered was acknowledged");
    }
    if model.fenced() && row.state == MessageState::Parked && !row.forgotten && !world.overdue {
        return Some("what is fenced is never parked for its number of questions");
    }
    None
}

/// Over every step.
pub(super) fn over_a_step(model: &Model, before: &World, after: &World) -> Broken {
    for (before, after) in before.calls.iter().flatten().zip(after.calls.iter().flatten()) {
        if before.fence != after.fence {
            if after.fence == Fence::None && !before.messages().all(is_finished) {
                return Some("a fence row stays until all its messages are finished");
            }
            if before.fence != Fence::None && after.fence != Fence::None {
                return Some("a fence row never changes");
            }
        }
        for (one, other) in before.messages().zip(after.messages()) {
            let broken = of_a_move(model, before, one, other);
            if broken.is_some() {
                return broken;
            }
        }
    }
    None
}

fn is_finished(message: &Message) -> bool {
    message.state().is_none_or(MessageState::is_finished)
}

fn of_a_move(model: &Model, call: &Call, before: &Message, after: &Message) -> Broken {
    let (Some(from), Some(to)) = (before.row, after.row) else {
        let legal = match (before.state(), after.state()) {
            (None, Some(MessageState::Half)) => !call.is_live(),
            // Stored anew, since the half is gone.
            (None, Some(MessageState::Confirmed)) => call.body == Body::Over,
            (Some(state), None) => {
                state.is_finished() || state == MessageState::Half && is_known(call, before)
            }
            (gone, still) => gone == still,
        };
        return (!legal).then_some("rows come as halves, and go when they are finished");
    };
    if from.state != to.state && !ARROWS.contains(&(from.state, to.state)) {
        return Some("no message moves where the diagram has no arrow");
    }
    let half = from.state == MessageState::Half && to.state == MessageState::Half;
    if half && to.attempts > from.attempts && !is_counted(before, after) {
        return Some("only a question that was answered, or is to be asked alone, counts");
    }
    // A closed fence may: the body can't commit any more.
    let held = from.state == MessageState::Half && from.holder == Holder::Process && call.is_live();
    if held && to.state == MessageState::Cancelled && !model.fenced() {
        return Some("no check-back cancels what a live body holds");
    }
    None
}

/// Whether one of its askers has just given an answer, or entered a question.
fn is_counted(before: &Message, after: &Message) -> bool {
    let askers = |message: &Message| [message.own, message.checkers[0], message.checkers[1]];
    let mut pairs = askers(before).into_iter().zip(askers(after));
    pairs.any(|(one, other)| {
        one != other && matches!(one, Asker::Entering | Asker::GivingBack { spend: true })
    })
}

/// Whether nothing more happens by itself.
pub(super) fn is_settled(world: &World) -> bool {
    world.calls.iter().flatten().all(|call| {
        let settled =
            |one: &Message| !matches!(one.state(), Some(MessageState::Half | MessageState::Confirmed));
        call.is_quiet() && call.messages().all(settled)
    })
}

/// Whether no person is waited for, either.
pub(super) fn is_finished_with(world: &World) -> bool {
    is_settled(world) && world.calls.iter().flatten().all(|call| call.messages().all(is_finished))
}

/// When nothing more happens by itself.
pub(super) fn at_the_end(world: &World) -> Broken {
    for call in world.calls.iter().flatten() {
        let took_effect = matches!(call.truth, Truth::TookEffect { withheld: false, .. });
        for message in call.messages().filter(|_| took_effect) {
            let right = match message.state() {
                None => message.acknowledged,
                Some(state) => {
                    matches!(state, MessageState::Delivered | MessageState::Parked | MessageState::Dead)
                }
            };
            if !right {
                return Some("what took effect is delivered in the end, or waits for a person");
            }
        }
    }
    None
}
