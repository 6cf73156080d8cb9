//! What is explored, that everything holds there, and that broken rules are found.

use super::explore::explore;
use super::rules::{Bug, By, May, Model};
use crate::message::state::MessageState;

use Bug::*;
use May::*;

/// One fenced message, and everything that can happen to it.
pub(super) const FENCED: Model = Model::new(
    "a fenced message",
    By::Fence,
    &[Crash, Vanish, Fail, LapseLive, LoseAnswers, FailDelivery, Withhold, Amend, GrowOld, Operator, Janitor],
);

/// The same in its caller's transaction.
pub(super) const ENTERED: Model = Model {
    checkers: 1,
    ..Model::new(
        "a message in its caller's transaction",
        By::Fence,
        &[Enter, Crash, Vanish, Fail, LapseLive, LoseAnswers, Withhold, Amend, Operator, Janitor],
    )
};

/// Two relays deliver, in two processes, and fail.
pub(super) const DELIVERED: Model = Model {
    checkers: 1,
    relays: 2,
    ..Model::new(
        "its delivery",
        By::Fence,
        &[Crash, Vanish, Fail, LoseAnswers, FailDelivery, Operator, Janitor],
    )
};

/// A handler that keeps its word, whatever time does.
pub(super) const HONEST: Model = Model::new(
    "a message with a handler",
    By::HonestHandler,
    &[Crash, Vanish, Fail, LapseLive, LoseAnswers, AskOnErr, Withhold, Operator, Janitor],
);

/// A handler that says what it sees, as long as leases and `check_after` are kept.
pub(super) const HASTY: Model = Model::new(
    "a message with a hasty handler",
    By::HastyHandler,
    &[Crash, Vanish, Fail, LoseAnswers, AskOnErr, Withhold, Operator, Janitor],
);

/// And when they are not, as long as the body comes back with its own word.
const OUTAGE: Model =
    Model::new("a hasty handler in an outage", By::HastyHandler, &[LapseLive, LoseAnswers, Withhold]);

/// The store loses a half while its body runs.
const RESTORED: Model = Model {
    checkers: 1,
    ..Model::new(
        "a restored store",
        By::Fence,
        &[Vanish, LapseLive, LoseAnswers, RestoreStore, Amend, Withhold],
    )
};

/// The same with a handler.
const RESTORED_HANDLED: Model =
    Model { witness: By::HonestHandler, name: "a restored store and a handler", ..RESTORED };

/// Two messages with one fence row.
const TOGETHER: Model = Model {
    messages: 2,
    checkers: 1,
    ..Model::new("two messages of a call", By::Fence, &[Crash, Vanish, Fail, Janitor])
};

/// Two messages with a handler each.
const HANDLED_TOGETHER: Model = Model {
    messages: 2,
    checkers: 1,
    ..Model::new("two messages with handlers", By::HonestHandler, &[Crash, Vanish, Fail])
};

/// Two messages, two who check, an outage of the store, and a crash at any moment.
const TOGETHER_IN_AN_OUTAGE: Model = Model {
    messages: 2,
    ..Model::new("two messages of a call in an outage", By::Fence, &[Crash, LapseLive])
};

/// Two calls in one process.
const TWO_CALLS: Model = Model { calls: 2, checkers: 1, ..Model::new("two calls", By::Fence, &[Crash]) };

/// Everything holds at every moment, and there are so many of them.
#[track_caller]
fn holds(model: &Model, worlds: usize) {
    let began = std::time::Instant::now();
    match explore(model) {
        Ok(found) => {
            eprintln!("{}: {found}, in {:.1?}", model.name, began.elapsed());
            assert_eq!(found.worlds, worlds, "the model has changed: are these all worlds there should be?");
            assert!(
                found.ends.contains(&MessageState::Delivered)
                    && found.ends.contains(&MessageState::Cancelled)
            );
            assert_eq!(found.ends.contains(&MessageState::Dead), model.may(FailDelivery), "{:?}", found.ends);
        }
        Err(counterexample) => panic!("{}: {counterexample}", model.name),
    }
}

#[test]
fn a_fenced_message() {
    holds(&FENCED, 115_795);
}

#[test]
fn a_message_in_its_callers_transaction() {
    holds(&ENTERED, 11_737);
}

#[test]
fn its_delivery() {
    holds(&DELIVERED, 14_995);
}

#[test]
fn a_message_with_a_handler() {
    holds(&HONEST, 13_146);
}

#[test]
fn a_hasty_handler() {
    holds(&HASTY, 8627);
}

#[test]
fn a_hasty_handler_in_an_outage() {
    holds(&OUTAGE, 1062);
}

#[test]
fn a_restored_store() {
    holds(&RESTORED, 5919);
}

#[test]
fn a_restored_store_and_a_handler() {
    holds(&RESTORED_HANDLED, 1086);
}

#[test]
fn two_messages_of_a_call() {
    holds(&TOGETHER, 58_006);
}

#[test]
fn two_messages_with_handlers() {
    holds(&HANDLED_TOGETHER, 70_855);
}

// By far the longest, so it begins early: tests begin in the order of their names.
#[test]
fn an_outage_with_two_messages_of_a_call() {
    holds(&TOGETHER_IN_AN_OUTAGE, 706_368);
}

#[test]
fn two_calls() {
    holds(&TWO_CALLS, 126_530);
}

const LOST: &str = "what took effect is delivered in the end, or waits for a person";
const COUNTED: &str = "only a question that was answered, or is to be asked alone, counts";
const PRUNED: &str = "a fence row stays until all its messages are finished";

/// Each broken rule is found out, and by the property that it is there for.
#[test]
fn broken_rules_are_found() {
    for (bug, model, expected) in [
        (CancelOnFencedErr, &FENCED, LOST),
        (UnconditionalTransitions, &FENCED, "no message moves where the diagram has no arrow"),
        (CheckBackCancelNeedsNoToken, &OUTAGE, "no check-back cancels what a live body holds"),
        (FenceIsReadAndNotClosed, &FENCED, LOST),
        (CallerIsNotAwaited, &ENTERED, LOST),
        (EnteredIsDone, &ENTERED, "what is delivered took effect"),
        (OpenTransactionCountsAsNone, &FENCED, "a fence row never changes"),
        (CommitIsNotProven, &FENCED, "what is delivered took effect"),
        (HandlerIsAskedAtOnce, &HASTY, LOST),
        (UnknownCancels, &FENCED, LOST),
        (UnknownCancels, &HONEST, LOST),
        (LateOkIsRefused, &OUTAGE, LOST),
        (FenceHasABudget, &FENCED, "what is fenced is never parked for its number of questions"),
        (WithholdIsNotWritten, &FENCED, "what is withheld is not delivered"),
        (WithholdOutlivesItsTransaction, &FENCED, LOST),
        (AmendedPayloadIsNotWritten, &FENCED, "what is delivered has the payload that was committed"),
        (PrunedAtConfirmed, &FENCED, PRUNED),
        (PrunedMessageByMessage, &TOGETHER, PRUNED),
        (MarkedBeforeAcknowledged, &DELIVERED, "what counts as delivered was acknowledged"),
        (LapsedRowsAreNotTakenOver, &FENCED, "the system always comes to rest"),
        (GoneHalfIsNotStoredAnew, &RESTORED, LOST),
        (GoneHalfIsNotStoredAgain, &RESTORED, LOST),
        (AnswerIsForgottenInAnOutage, &RESTORED, LOST),
        (QuestionsAreCountedAtTheClaim, &HONEST, COUNTED),
        (ClaimsAreShort, &HASTY, LOST),
    ] {
        let broken = Model { bug: Some(bug), ..model.clone() };
        match explore(&broken) {
            Ok(found) => panic!("{bug:?} is not found in {found}"),
            Err(counterexample) => {
                eprintln!("{bug:?}, {}: {counterexample}", model.name);
                assert_eq!(counterexample.broken, expected, "{bug:?}");
            }
        }
    }
}
