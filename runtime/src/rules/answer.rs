//! What follows from an answer: pure functions, which the workers obey and the model explores.

use std::time::Duration;

use crate::message::state::Event;
use crate::message::{AnsweredBy, FenceId, Outcome};
use crate::store::Holder;
use crate::transport::PublishResult;

/// What is known of a half that was claimed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToTriage {
    /// A live body of this process holds it.
    pub(crate) ours: bool,
    /// Whose lease has lapsed, if one has.
    pub(crate) taken_over: Option<Holder>,
    /// Questions before this one that count.
    pub(crate) attempts: u32,
    pub(crate) age: Duration,
    pub(crate) check_after: Duration,
}

/// What is to be done about a half that was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Triage<'a> {
    /// Its lease lapsed in an outage: taken back, not asked about.
    TakeBack,
    AskFence(FenceId),
    AskHandler(&'a str),
    /// Its asker has vanished, perhaps over this very question: asked while nothing else runs in the process, after that
    /// was counted. So the blame is certain if it happens again, and no neighbour shares it.
    AskAlone(&'a str),
    /// Its holder vanished without a word: what it has sent may still be in flight.
    WaitFirst,
    /// Its fence row may have been pruned: an answer would no longer be exact.
    TooOld,
    /// Its handler was asked as often as it may be.
    UsedUp,
    /// Parked when it got this name; never claimed.
    Leave,
}

/// Decides that; `budget` is for handlers, `horizon` for fences.
pub(crate) fn triage(
    answered_by: &AnsweredBy,
    claimed: ToTriage,
    budget: u32,
    horizon: Duration,
) -> Triage<'_> {
    match answered_by {
        _ if claimed.ours => Triage::TakeBack,
        AnsweredBy::Fence(identity) if claimed.age <= horizon => Triage::AskFence(*identity),
        AnsweredBy::Fence(_) => Triage::TooOld,
        // What a checker held has waited: its claim outlasts `check_after`.
        AnsweredBy::Handler { .. }
            if claimed.taken_over == Some(Holder::Process) && !claimed.check_after.is_zero() =>
        {
            Triage::WaitFirst
        }
        AnsweredBy::Handler { .. } if claimed.attempts >= budget => Triage::UsedUp,
        AnsweredBy::Handler { name, .. } if claimed.taken_over == Some(Holder::Checker) => {
            Triage::AskAlone(name)
        }
        AnsweredBy::Handler { name, .. } => Triage::AskHandler(name),
        AnsweredBy::Nobody => Triage::Leave,
    }
}

/// What is to be done after a handler's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Decide(Event),
    /// Only while the asker still holds the row: otherwise its body has come back.
    DecideIfHeld(Event),
    AskAgain,
}

/// Decides that. `attempts`: how often the handler was asked, this time included.
pub(crate) const fn after_handler(outcome: Outcome, attempts: u32, budget: u32) -> Step {
    match outcome {
        Outcome::Confirm => Step::Decide(Event::CheckBackConfirms),
        Outcome::Cancel => Step::DecideIfHeld(Event::CancelIfHeld),
        Outcome::Unknown if attempts >= budget => Step::DecideIfHeld(Event::Park),
        Outcome::Unknown => Step::AskAgain,
    }
}

/// What is to be done after a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PublishVerdict {
    Delivered,
    /// To be tried again, and this attempt counts.
    Again,
    /// To be tried again.
    AgainUncounted,
    Dead,
}

/// Decides that. `attempt`: which attempt this was, from 1.
pub(crate) const fn after_publish(publication: &PublishResult, attempt: u32, budget: u32) -> PublishVerdict {
    match publication {
        PublishResult::Acknowledged => PublishVerdict::Delivered,
        PublishResult::NotNow(_) | PublishResult::Paused(..) | PublishResult::NotHere(_) => {
            PublishVerdict::AgainUncounted
        }
        PublishResult::Refused(..) => PublishVerdict::Dead,
        PublishResult::Unroutable(_) | PublishResult::Failed(..) | PublishResult::FailedFor(..)
            if attempt >= budget =>
        {
            PublishVerdict::Dead
        }
        PublishResult::Unroutable(_) | PublishResult::Failed(..) | PublishResult::FailedFor(..) => {
            PublishVerdict::Again
        }
    }
}
