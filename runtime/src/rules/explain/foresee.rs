//! Why a message stands where it stands, and what happens next: by the rules that the workers obey.

use std::time::Duration;

use super::values::{Cause, Next};
use crate::message::AnsweredBy;
use crate::message::state::MessageState;
use crate::rules::answer::{ToTriage, Triage, triage};
use crate::settings::Settings;
use crate::store::Holder;

/// What a row says of what can happen next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) state: MessageState,
    pub(crate) answered_by: &'a AnsweredBy,
    pub(crate) holder: Option<Holder>,
    /// Its holder's lease has lapsed, or its pause is over.
    pub(crate) due: bool,
    pub(crate) attempts: u32,
    pub(crate) age: Duration,
    pub(crate) check_after: Duration,
    /// It was sent with a delay that is not over.
    pub(crate) delayed: bool,
    /// Its time is over.
    pub(crate) late: bool,
}

/// How often, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budgets {
    pub(crate) questions: u32,
    pub(crate) horizon: Duration,
    pub(crate) deliveries: u32,
    /// They are those of the processes that settle and deliver, and not just the default.
    pub(crate) known: bool,
}

impl Budgets {
    pub(super) const fn of(settings: &Settings, known: bool) -> Self {
        Self {
            questions: settings.check_back_attempts,
            horizon: settings.check_back_horizon,
            deliveries: settings.delivery_attempts,
            known,
        }
    }
}

/// Says why it stands there, and what happens next, if a process is there that can do it.
pub(crate) fn foresee(seen: &Seen<'_>, budgets: &Budgets) -> (Cause, Next) {
    match seen.state {
        MessageState::Half => half(seen, budgets),
        MessageState::Confirmed => confirmed(seen),
        MessageState::Parked => (parked(seen, budgets), Next::Decide),
        MessageState::Dead if !budgets.known => (Cause::GivenUp { attempts: seen.attempts }, Next::Decide),
        MessageState::Dead if seen.attempts >= budgets.deliveries => {
            (Cause::AttemptsUsedUp { attempts: seen.attempts }, Next::Decide)
        }
        MessageState::Dead => (Cause::Refused, Next::Decide),
        MessageState::Cancelled => (Cause::NoEffect, Next::Delete),
        MessageState::Delivered => (Cause::Acknowledged, Next::Delete),
        MessageState::Expired => (Cause::Late, Next::Delete),
    }
}

fn half(seen: &Seen<'_>, budgets: &Budgets) -> (Cause, Next) {
    match (seen.holder, seen.due) {
        (Some(Holder::Process), false) => return (Cause::Running, Next::Report),
        (Some(Holder::Checker), false) => return (Cause::BeingAsked, Next::Answer),
        _ => {}
    }
    let cause = match seen.holder {
        Some(Holder::Process) => Cause::ProcessVanished,
        Some(Holder::Checker) => Cause::AskerVanished,
        None if seen.attempts > 0 => Cause::AskedInVain { questions: seen.attempts },
        None => Cause::Unreported,
    };
    let claimed = ToTriage {
        ours: false,
        taken_over: seen.holder,
        attempts: seen.attempts,
        age: seen.age,
        check_after: seen.check_after,
    };
    let next = match triage(seen.answered_by, claimed, budgets.questions, budgets.horizon) {
        Triage::AskFence(_) => Next::AskFence,
        Triage::AskHandler(_) => Next::AskHandler,
        Triage::AskAlone(_) => Next::AskHandlerAlone,
        Triage::WaitFirst => Next::WaitFirst,
        // Nobody answers for it: it is parked when it is too old.
        Triage::TooOld | Triage::UsedUp | Triage::Leave => Next::Park,
        // Only what a live body of the asking process holds, which nobody sees in a row.
        Triage::TakeBack => Next::Report,
    };
    (cause, next)
}

const fn confirmed(seen: &Seen<'_>) -> (Cause, Next) {
    match (seen.holder, seen.due) {
        (Some(_), false) => (Cause::Publishing, Next::Acknowledge),
        _ if seen.late => (Cause::Late, Next::Expire),
        (Some(_), true) => (Cause::PublisherVanished, Next::Publish),
        (None, _) if seen.delayed => (Cause::Delayed, Next::Publish),
        (None, true) => (Cause::WaitsForRelay, Next::Publish),
        (None, false) if seen.attempts > 0 => {
            (Cause::DeliveryFailed { attempts: seen.attempts }, Next::Publish)
        }
        (None, false) => (Cause::NotPublished, Next::Publish),
    }
}

const fn parked(seen: &Seen<'_>, budgets: &Budgets) -> Cause {
    match seen.answered_by {
        AnsweredBy::Nobody => Cause::ForgotBegin,
        AnsweredBy::Handler { .. }
            if seen.attempts >= budgets.questions || (!budgets.known && seen.attempts > 0) =>
        {
            Cause::NoAnswer { questions: seen.attempts }
        }
        AnsweredBy::Handler { .. } | AnsweredBy::Fence(_) => Cause::TooOld,
    }
}
