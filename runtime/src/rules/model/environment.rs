//! Time, crashes, backups, persons, and the janitor.

use super::deliver::is_held;
use super::rules::{Bug, May};
use super::steps::{At, Cause, Steps};
use super::world::{Asker, Body, Call, Change, Effect, Fence, Holder, Message, Relay, Report, Truth};
use crate::message::Evidence;
use crate::message::state::{Event, MessageState};
use crate::rules::by_hand::may;
use crate::store::Action;

use Cause::{Fault, Person, System};

pub(super) fn time_and_crash(out: &mut Steps<'_>) {
    if out.world.alive && out.model.may(May::Crash) {
        out.world(Fault, "the body's process dies", |world| {
            world.alive = false;
            world.calls.iter_mut().flatten().for_each(crash);
        });
    }
    if out.model.may(May::GrowOld) {
        out.world(Fault, "the halves grow older than the horizon", |world| world.overdue = true);
    }
}

/// What was in memory is gone. A statement of the reporter may be in flight still.
fn crash(call: &mut Call) {
    call.body = Body::Over;
    for message in call.messages.iter_mut().flatten() {
        if matches!(message.report, Some(Report::AskFence | Report::AwaitCommit | Report::AskLater)) {
            message.report = None;
        }
        message.own = Asker::Idle;
        message.relays[0] = Relay::Idle;
        message.abandon(Holder::Process);
    }
}

/// Leases lapse and are renewed, and pauses end; or the store is set back to a time before.
pub(super) fn clock(out: &mut Steps<'_>, at: At, call: &Call, message: &Message) {
    let Some(row) = message.row else { return };
    if out.model.may(May::RestoreStore) && row.state == MessageState::Half && is_known(call, message) {
        out.message(at, Fault, "the store is restored, without the half", |message, _| message.row = None);
    }
    if !matches!(row.state, MessageState::Half | MessageState::Confirmed) {
        return;
    }
    let held = is_held(out, call, message);
    if held && (row.state == MessageState::Half || row.holder == Holder::Process) {
        out.message(at, System, "its process renews the lease", |message, _| {
            message.renew();
        });
    }
    if row.due {
        return;
    }
    let live = held && row.state == MessageState::Half && row.holder == Holder::Process;
    // `check_after` outlasts what a body has sent; a fence waits for nothing.
    let too_early = !out.model.fenced() && call.effect != Effect::None && row.state == MessageState::Half;
    // What a checker holds is held for `check_after`, too.
    let by_checker = matches!(row.holder, Holder::Checker(_) | Holder::GoneChecker);
    let held_on = live || by_checker && too_early && !out.model.has(Bug::ClaimsAreShort);
    if row.holder != Holder::Nobody {
        if !(held_on && out.model.time_is_kept()) {
            out.message(at, System, "its lease lapses", lapse);
        }
    } else if !too_early || !out.model.time_is_kept() {
        out.message(at, System, "its pause ends", lapse);
    }
}

/// Whether the call's process still has it in memory.
pub(super) fn is_known(call: &Call, message: &Message) -> bool {
    call.body != Body::Over || message.report.is_some() || message.own != Asker::Idle
}

fn lapse(message: &mut Message, _: &super::rules::Model) {
    message.row.iter_mut().for_each(|row| row.due = true);
}

/// A person decides what waits for one. A person who decides by their own word knows the truth.
pub(super) fn operator(out: &mut Steps<'_>, at: At, call: &Call, message: &Message) {
    let Some(row) = message.row else { return };
    if !out.model.may(May::Operator) {
        return;
    }
    match row.state {
        MessageState::Dead => out.message(at, Person, "a person revives it", |message, model| {
            message.transition(model, Event::Revive, Change::PLAIN);
        }),
        MessageState::Parked if out.model.fenced() && !row.forgotten => decide_by_fence(out, at, call),
        MessageState::Parked => {
            let over = call.body == Body::Over && call.effect == Effect::None;
            if call.truth != Truth::Nothing || (row.forgotten && over) {
                out.message(at, Person, "a person confirms it", |message, model| {
                    message.vouched = true;
                    message.transition(model, Event::OperatorConfirms, Change::PLAIN);
                });
            }
            if call.truth == Truth::Nothing && over {
                out.message(at, Person, "a person cancels it", |message, model| {
                    message.transition(model, Event::OperatorCancels, Change::PLAIN);
                });
            }
        }
        _ => {}
    }
}

/// The fence has the last word.
fn decide_by_fence(out: &mut Steps<'_>, at: At, call: &Call) {
    let evidence = match call.fence {
        Fence::Committed { amended } => Evidence::Committed { amended },
        Fence::Withheld => Evidence::Withheld,
        Fence::Tombstone => Evidence::Closed,
        Fence::None if call.effect == Effect::None => {
            return out.call(at.c, Person, "a person closes the fence, to cancel it", |call, _| {
                call.fence = Fence::Tombstone;
            });
        }
        Fence::None => return,
    };
    let amended = matches!(call.fence, Fence::Committed { amended: true }).then_some(true);
    for (action, event) in
        [(Action::Confirm, Event::OperatorConfirms), (Action::Cancel, Event::OperatorCancels)]
    {
        if may(action, MessageState::Parked, false, &evidence).is_ok() {
            out.message(at, Person, "a person decides it as its fence says", |message, model| {
                message.transition(model, event, Change { amended, ..Change::PLAIN });
            });
        }
    }
}

/// Fence row first, then the messages; and halves that nobody asks about are parked.
///
/// The retention outlasts everything that was in flight when the call was finished.
pub(super) fn janitor(out: &mut Steps<'_>, c: usize, call: &Call) {
    if out.world.overdue {
        park_overdue(out, c, call);
    }
    if !out.model.may(May::Janitor) || !call.is_quiet() {
        return;
    }
    let by_message = out.model.has(Bug::PrunedMessageByMessage);
    let early = out.model.has(Bug::PrunedAtConfirmed);
    let finished = |message: &Message| match message.state() {
        None => true,
        Some(MessageState::Confirmed) => early,
        Some(state) => state.is_finished(),
    };
    let stored = call.messages().any(|message| message.row.is_some());
    let all = if by_message {
        call.messages().any(|message| message.row.is_some() && finished(message))
    } else {
        call.messages().all(finished)
    };
    if stored && all && !call.pruned {
        out.call(c, Person, "the janitor deletes the fence row", |call, _| {
            call.fence = Fence::None;
            call.pruned = true;
        });
    }
    for m in 0..call.messages.len() {
        let state = call.messages[m].and_then(|one| one.state());
        let gone = call.pruned && state.is_some_and(MessageState::is_finished);
        if gone {
            let what = "the janitor deletes the message";
            out.message(At { c, m }, Person, what, |message, _| message.row = None);
        }
    }
}

/// Without a token: whoever comes back later is right all the same.
fn park_overdue(out: &mut Steps<'_>, c: usize, call: &Call) {
    for (m, message) in call.messages.iter().enumerate() {
        let Some(row) = message.and_then(|message| message.row) else { continue };
        if row.state == MessageState::Half && row.due {
            let what = "the janitor parks the overdue half";
            out.message(At { c, m }, Fault, what, |message, model| {
                message.transition(model, Event::Park, Change::PLAIN);
            });
        }
    }
}
