//! Check-back: askers claim lapsed halves, ask, and apply the answer. Each can fail at each step.

use super::body::insert_anew;
use super::deliver::{TOKENS, is_held};
use super::rules::{Bug, By, May, Model};
use super::steps::{At, Cause, Steps};
use super::world::{Asker, Body, Call, Change, Effect, Fence, Holder, Message, Relay, Truth};
use crate::fence::verdict::Verdict;
use crate::message::Outcome;
use crate::message::state::{Applied, Event, MessageState};
use crate::rules::answer::{Step, Triage};
use crate::store;

use Cause::{Fault, System};

/// Which of a message's askers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Own,
    Checker(u8),
}

impl Who {
    const fn token(self) -> Holder {
        match self {
            Self::Own => Holder::Process,
            Self::Checker(number) => Holder::Checker(number),
        }
    }

    const fn of(self, message: &mut Message) -> &mut Asker {
        match self {
            Self::Own => &mut message.own,
            Self::Checker(number) => &mut message.checkers[number as usize],
        }
    }

    /// The relay of the same process.
    const fn relay(self) -> usize {
        match self {
            Self::Own | Self::Checker(1) => 0,
            Self::Checker(_) => 1,
        }
    }

    const fn has_relay(self, out: &Steps<'_>) -> bool {
        self.relay() == 1 || out.world.alive && out.model.relays > 1
    }

    /// Ends the question, and with it the token.
    fn leaves(self, message: &mut Message) {
        *self.of(message) = Asker::Idle;
        if self != Self::Own {
            message.abandon(self.token());
        }
    }
}

pub(super) fn steps(out: &mut Steps<'_>, at: At, call: &Call, message: &Message) {
    asker(out, at, call, Who::Own, message.own);
    for (number, asker_now) in (0..).zip(message.checkers).take(out.model.checkers) {
        let who = Who::Checker(number);
        if asker_now == Asker::Idle {
            claim(out, at, call, message, number);
        }
        asker(out, at, call, who, asker_now);
    }
}

fn claim(out: &mut Steps<'_>, at: At, call: &Call, message: &Message, number: u8) {
    let who = Who::Checker(number);
    let ours = number == 1 && is_held(out, call, message);
    let Some(row) = message.row else { return };
    let overdue = out.world.overdue;
    let taken_over = match row.holder {
        Holder::Nobody => None,
        Holder::Checker(_) | Holder::GoneChecker => Some(store::Holder::Checker),
        Holder::Process | Holder::Relay | Holder::Gone => Some(store::Holder::Process),
    };
    if row.state != MessageState::Half || !row.due || row.forgotten {
        return;
    }
    if taken_over.is_some() && out.model.has(Bug::LapsedRowsAreNotTakenOver) {
        return;
    }
    out.message(at, System, "a checker claims the half", |message, model| {
        let at_the_claim = model.has(Bug::QuestionsAreCountedAtTheClaim);
        let before = row.attempts;
        message.hold(who.token());
        message.row.iter_mut().for_each(|row| row.attempts += u8::from(at_the_claim && row.attempts < 3));
        *who.of(message) = match model.triage(ours, taken_over, before, overdue) {
            Triage::AskFence(_) | Triage::AskHandler(_) => Asker::Asking { before, counted: !model.counts() },
            Triage::AskAlone(_) => Asker::Entering,
            Triage::WaitFirst => Asker::GivingBack { spend: false },
            Triage::TooOld | Triage::UsedUp => {
                Asker::Deciding { event: Event::Park, if_held: true, amended: None }
            }
            Triage::TakeBack | Triage::Leave => Asker::Idle,
        };
        if ours {
            message.renew();
        }
    });
}

fn asker(out: &mut Steps<'_>, at: At, call: &Call, who: Who, asker: Asker) {
    match asker {
        Asker::Idle => return,
        Asker::Awaiting => wait_for_the_commit(out, at, call),
        Asker::Entering => out.message(at, System, "counted, to be asked alone", |message, _| match message
            .enter(who.token())
        {
            Some(before) => *who.of(message) = Asker::Asking { before, counted: true },
            None => who.leaves(message),
        }),
        Asker::Asking { before, counted } if out.model.fenced() => {
            ask_fence(out, at, call, who, (before, counted));
        }
        Asker::Asking { before, counted } => {
            for outcome in [Outcome::Confirm, Outcome::Cancel, Outcome::Unknown] {
                if may_answer(out, call, outcome) {
                    let what = match outcome {
                        Outcome::Confirm => "the handler says Confirm",
                        Outcome::Cancel => "the handler says Cancel",
                        Outcome::Unknown => "the handler says Unknown, fails or takes too long",
                    };
                    out.message(at, System, what, |message, model| {
                        *who.of(message) = after(model.after_handler(outcome, before + 1), None, counted);
                    });
                }
            }
        }
        Asker::Deciding { event, if_held, amended } => {
            let held_by = if_held.then_some(who.token());
            let change = Change { held_by, amended, ..Change::PLAIN };
            out.message(at, System, "the answer is applied", |message, model| {
                apply(message, model, event, change, who);
            });
            if event == Event::CheckBackConfirms && who.has_relay(out) {
                hand_over(out, at, Change { hold: TOKENS[who.relay()], ..change }, who);
            }
        }
        Asker::GivingBack { spend } => {
            out.message(at, System, "the half is given back", |message, model| {
                if who == Who::Own {
                    message.make_sure(model);
                }
                message.release(who.token(), spend);
                who.leaves(message);
            });
        }
    }
    // What is known of a call that has just run waits until the store is back.
    let knows = who == Who::Own && matches!(asker, Asker::Deciding { .. } | Asker::GivingBack { .. });
    if knows && out.model.has(Bug::AnswerIsForgottenInAnOutage) {
        out.message(at, Fault, "the store is away, and the answer forgotten", |message, _| {
            who.leaves(message);
        });
    }
    if out.model.may(May::Fail) {
        out.message(at, Fault, "the asker fails, or dies", |message, _| who.leaves(message));
    }
}

const fn after(step: Step, amended: Option<bool>, counted: bool) -> Asker {
    match step {
        Step::Decide(event) => Asker::Deciding { event, if_held: false, amended },
        Step::DecideIfHeld(event) => Asker::Deciding { event, if_held: true, amended },
        Step::AskAgain => Asker::GivingBack { spend: !counted },
    }
}

/// Applies an answer, and ends the question.
fn apply(message: &mut Message, model: &Model, event: Event, change: Change, who: Who) -> Applied {
    // For the process that ran the body it is as if the body had reported it.
    let is_own = (event, who) == (Event::CheckBackConfirms, Who::Own);
    let applied = message.transition(model, if is_own { Event::BodyConfirms } else { event }, change);
    // Only that process may know that the message is gone, and must not be.
    if is_own && applied == Applied::Missing && !model.has(Bug::GoneHalfIsNotStoredAnew) {
        insert_anew(message, change.amended.unwrap_or_default());
        message.release(Holder::Process, false);
    }
    who.leaves(message);
    applied
}

/// What is confirmed goes to the relay of the same process, without a way through the table.
fn hand_over(out: &mut Steps<'_>, at: At, change: Change, who: Who) {
    let relay = who.relay();
    out.message(
        at,
        System,
        "the answer is applied, and the message handed to the relay",
        |message, model| {
            if apply(message, model, Event::CheckBackConfirms, change, who) != Applied::Moved {
                return;
            }
            if message.relays[relay] == Relay::Idle {
                let amended = message.row.is_some_and(|row| row.amended);
                message.relays[relay] = Relay::Publishing { attempt: 1, amended };
            } else {
                message.release(TOKENS[relay], false);
            }
        },
    );
    if out.model.may(May::LoseAnswers) {
        out.message(at, Fault, "the answer is applied, and nobody hears of it", |message, model| {
            if apply(message, model, Event::CheckBackConfirms, change, who) == Applied::Moved {
                message.abandon(TOKENS[relay]);
            }
        });
    }
}

/// One statement in the business database: it closes the fence, or reads what was there first.
fn ask_fence(out: &mut Steps<'_>, at: At, call: &Call, who: Who, (before, counted): (u8, bool)) {
    let locked = call.effect != Effect::None && !out.model.has(Bug::OpenTransactionCountsAsNone);
    let unknown = || Verdict::Unknown(String::new());
    let (verdict, amended, closes) = match call.fence {
        _ if locked => (unknown(), None, false),
        Fence::None => (Verdict::Closed, None, !out.model.has(Bug::FenceIsReadAndNotClosed)),
        Fence::Tombstone => (Verdict::Closed, None, false),
        Fence::Withheld => (Verdict::Withheld, None, false),
        Fence::Committed { amended } => {
            (Verdict::Committed { amended: None }, amended.then_some(true), false)
        }
    };
    let what = match verdict {
        Verdict::Committed { .. } => "the fence says: committed",
        Verdict::Withheld => "the fence says: nothing to send",
        Verdict::Closed => "the fence says: closed",
        Verdict::Unknown(_) => "the fence is locked by an open transaction",
    };
    let step = out.model.after_fence(&verdict, before + 1);
    let answer = |call: &mut Call, closes: bool, asker: Asker| {
        if closes {
            call.fence = Fence::Tombstone;
        }
        if let Some(message) = &mut call.messages[at.m] {
            *who.of(message) = asker;
        }
    };
    out.call(at.c, System, what, |call, _| answer(call, closes, after(step, amended, counted)));
    if !out.model.may(May::LoseAnswers) {
        return;
    }
    // With the tombstone in or without it.
    let step = out.model.after_fence(&unknown(), before + 1);
    out.call(at.c, Fault, "the fence gives no answer", |call, _| {
        answer(call, false, after(step, None, counted));
    });
    if closes {
        out.call(at.c, Fault, "the fence is closed, and the answer is lost", |call, _| {
            answer(call, true, after(step, None, counted));
        });
    }
}

/// Reads the fence until its row is there, or for as long as somebody may wait.
fn wait_for_the_commit(out: &mut Steps<'_>, at: At, call: &Call) {
    let decided = |event, amended| Asker::Deciding { event, if_held: false, amended };
    match call.fence {
        Fence::Committed { amended } => {
            out.message(at, System, "the fence is read: committed", |message, _| {
                message.own = decided(Event::CheckBackConfirms, amended.then_some(true));
            });
        }
        Fence::Withheld => out.message(at, System, "the fence is read: nothing to send", |message, _| {
            message.own = decided(Event::CancelFinal, None);
        }),
        Fence::None if out.model.has(Bug::CallerIsNotAwaited) => {
            out.message(at, System, "the fence is read: no row", |message, _| {
                message.own = decided(Event::CancelFinal, None);
            });
        }
        Fence::None | Fence::Tombstone => {}
    }
    out.message(at, System, "has waited long enough, and asks", |message, model| {
        message.own = Asker::Asking { before: 0, counted: !model.counts() };
    });
}

/// What a handler may say now.
fn may_answer(out: &Steps<'_>, call: &Call, outcome: Outcome) -> bool {
    let took_effect = call.truth != Truth::Nothing;
    let settled = call.body == Body::Over && call.effect == Effect::None;
    match outcome {
        Outcome::Confirm => took_effect,
        Outcome::Cancel => !took_effect && (settled || out.model.witness == By::HastyHandler),
        Outcome::Unknown => true,
    }
}
