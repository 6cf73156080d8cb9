//! What is explored: how large the world is, what may go wrong in it, and by which rules it works.
//!
//! The rules are the runtime's own functions. A [`Bug`] replaces one of them by a wrong one.

use std::time::Duration;

use uuid::Uuid;

use super::world::{Call, Report};
use crate::fence::verdict::Verdict;
use crate::message::state::{Applied, Event, MessageState};
use crate::message::{AnsweredBy, FenceId, Outcome};
use crate::rules::answer::{Step, ToTriage, Triage, after_handler, triage};
use crate::rules::body_state::{Body, Resolver};
use crate::rules::ending::{Decision, Ending, decide};
use crate::store::Holder;

/// How often a handler is asked, and a delivery tried.
pub(super) const BUDGET: u32 = 2;

/// One configuration.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) name: &'static str,
    pub(super) calls: usize,
    /// Of each call.
    pub(super) messages: usize,
    pub(super) witness: By,
    /// The second is in the body's process.
    pub(super) checkers: usize,
    /// Which read the table; what its own process confirms is delivered by that one.
    pub(super) relays: usize,
    pub(super) may: &'static [May],
    pub(super) bug: Option<Bug>,
}

/// Who can tell how a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Fence,
    /// A handler that keeps its word: it cancels only what can no longer take effect. Nothing is
    /// assumed about time then.
    HonestHandler,
    /// A handler that cancels what it does not see. It is right as long as time is as promised:
    /// a live body's lease does not lapse, and `check_after` outlasts what is in flight.
    HastyHandler,
}

/// What may happen beside the protocol's own steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum May {
    /// The body's process dies, at any moment.
    Crash,
    /// The body panics, or its future is dropped; or its caller leaves before it runs.
    Vanish,
    /// The lease of a live body lapses, as in an outage.
    LapseLive,
    /// A report, a question or a delivery ends half-way, by a panic or a store that refuses it.
    Fail,
    /// A statement fails, or is run and its answer is lost or comes late.
    LoseAnswers,
    /// A handler's body is marked `on_err = ask`.
    AskOnErr,
    Withhold,
    Amend,
    /// The body works in its caller's transaction.
    Enter,
    /// The halves grow older than the horizon.
    GrowOld,
    Operator,
    Janitor,
    /// The store loses a half, as one that was restored from a backup.
    RestoreStore,
    /// Deliveries fail.
    FailDelivery,
}

/// A rule that is broken on purpose, to see that the exploration finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    CancelOnFencedErr,
    UnconditionalTransitions,
    CheckBackCancelNeedsNoToken,
    FenceIsReadAndNotClosed,
    /// A caller that has not committed yet never will.
    CallerIsNotAwaited,
    /// A row says from the first that the message is to be sent.
    EnteredIsDone,
    OpenTransactionCountsAsNone,
    CommitIsNotProven,
    HandlerIsAskedAtOnce,
    UnknownCancels,
    LateOkIsRefused,
    FenceHasABudget,
    WithholdIsNotWritten,
    WithholdOutlivesItsTransaction,
    AmendedPayloadIsNotWritten,
    PrunedAtConfirmed,
    PrunedMessageByMessage,
    MarkedBeforeAcknowledged,
    LapsedRowsAreNotTakenOver,
    /// Confirmed, although the body's word is known.
    GoneHalfIsNotStoredAnew,
    /// As a half, when nobody knows yet.
    GoneHalfIsNotStoredAgain,
    /// What a fence says of a call that has just run, while the store is away.
    AnswerIsForgottenInAnOutage,
    QuestionsAreCountedAtTheClaim,
    /// What a checker holds lapses before `check_after` is over.
    ClaimsAreShort,
}

impl Model {
    pub(super) fn may(&self, what: May) -> bool {
        self.may.contains(&what)
    }

    pub(super) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    pub(super) fn fenced(&self) -> bool {
        self.witness == By::Fence
    }

    /// Whether a live body's lease surely does not lapse.
    pub(super) fn time_is_kept(&self) -> bool {
        !self.may(May::LapseLive)
    }

    pub(super) fn apply(&self, event: Event, state: MessageState) -> Result<MessageState, Applied> {
        if self.has(Bug::UnconditionalTransitions) {
            return Ok(event.target());
        }
        if self.has(Bug::LateOkIsRefused) && event == Event::BodyConfirms && state != MessageState::Half {
            return Err(event.verdict(state));
        }
        event.apply(state)
    }

    /// What is to be reported about a call.
    pub(super) fn report(&self, call: &Call, ending: Ending) -> Report {
        if self.has(Bug::CancelOnFencedErr) && ending == Ending::Err {
            return Report::Cancel;
        }
        let witness =
            if self.fenced() { Resolver::Fence(FenceId::from_uuid(Uuid::nil())) } else { Resolver::Handler };
        let body = Body {
            withheld: call.withheld,
            begun: call.begun,
            entered: call.entered,
            commit: call.commit,
            amended: call.amended.then(Vec::new),
            ..Body::default()
        };
        match decide(witness, ending, &body, self.may(May::AskOnErr)) {
            Decision::Confirm { amended } => Report::Confirm { amended: amended.is_some() },
            Decision::Cancel => Report::Cancel,
            Decision::AskFence => Report::AskFence,
            Decision::AwaitCommit => Report::AwaitCommit,
            Decision::AskLater => Report::AskLater,
            Decision::ParkForgotten => Report::ParkForgotten,
        }
    }

    /// What is to be done about a half that a checker has claimed.
    pub(super) fn triage(
        &self,
        ours: bool,
        taken_over: Option<Holder>,
        attempts: u8,
        overdue: bool,
    ) -> Triage<'static> {
        const FENCE: &AnsweredBy = &AnsweredBy::Fence(FenceId::from_uuid(Uuid::nil()));
        const HANDLER: &AnsweredBy = &AnsweredBy::Handler { service: String::new(), name: String::new() };
        let horizon = Duration::from_secs(1);
        let claimed = ToTriage {
            ours,
            taken_over: taken_over.filter(|_| !self.has(Bug::HandlerIsAskedAtOnce)),
            attempts: attempts.into(),
            age: if overdue { horizon * 2 } else { Duration::ZERO },
            check_after: if self.fenced() { Duration::ZERO } else { Duration::from_secs(1) },
        };
        triage(if self.fenced() { FENCE } else { HANDLER }, claimed, BUDGET, horizon)
    }

    /// Whether questions are counted: only where somebody looks at the count.
    pub(super) fn counts(&self) -> bool {
        !self.fenced() || self.has(Bug::FenceHasABudget)
    }

    /// What follows from a fence's answer. `asked`: how often, this time included.
    pub(super) fn after_fence(&self, verdict: &Verdict, asked: u8) -> Step {
        match verdict.event() {
            Some(event) => Step::Decide(event),
            None if self.has(Bug::UnknownCancels) => Step::Decide(Event::CancelFinal),
            None if self.has(Bug::FenceHasABudget) && u32::from(asked) >= BUDGET => {
                Step::DecideIfHeld(Event::Park)
            }
            None => Step::AskAgain,
        }
    }

    /// What follows from a handler's answer.
    pub(super) fn after_handler(&self, outcome: Outcome, asked: u8) -> Step {
        match after_handler(outcome, asked.into(), BUDGET) {
            Step::DecideIfHeld(Event::CancelIfHeld) if self.has(Bug::CheckBackCancelNeedsNoToken) => {
                Step::Decide(Event::CancelIfHeld)
            }
            Step::AskAgain if self.has(Bug::UnknownCancels) => Step::DecideIfHeld(Event::CancelIfHeld),
            step => step,
        }
    }
}
