//! What a body's ending means for its messages: a pure function, and the table that it implements.

use super::body_state::{Body, Commit, Resolver, Withheld};

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The caller left before the body was polled.
    NeverRan,
    /// The body returned `Ok`.
    Ok,
    /// The body returned `Err`.
    Err,
    /// The body panicked, or its future was dropped.
    Vanished,
}

/// What is to be done with the call's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The business action took effect. The payload is there when the body amended it.
    Confirm { amended: Option<Vec<u8>> },
    /// The business action took no effect, or there is nothing to send.
    Cancel,
    /// Only the fence knows: ask it now.
    AskFence,
    /// Only the fence will know, once the caller has committed: read it until then.
    AwaitCommit,
    /// Only the handler knows: ask it once a commit can no longer be in flight.
    AskLater,
    /// Nobody can know: the function never called `begin`, or never said that it was done.
    ParkForgotten,
}

/// The report, row by row. `ask_on_err`: an error of this function can hide a success.
pub(crate) fn decide(resolver: Resolver, ending: Ending, body: &Body, ask_on_err: bool) -> Decision {
    match (resolver, ending) {
        (_, Ending::NeverRan) => Decision::Cancel,
        (_, Ending::Ok) if body.withheld != Withheld::No => Decision::Cancel,
        (Resolver::Fence(_), Ending::Ok) if body.commit == Commit::Proven => {
            Decision::Confirm { amended: body.amended.clone() }
        }
        (Resolver::Fence(_), _) if body.commit == Commit::Callers => Decision::AwaitCommit,
        (Resolver::Fence(_), Ending::Ok) if !body.begun || body.entered => Decision::ParkForgotten,
        // Not done, and it never will be: whatever the caller commits, the fence row says that there is nothing to send.
        (Resolver::Fence(_), _) if body.entered => Decision::Cancel,
        (Resolver::Fence(_), _) => Decision::AskFence,
        (Resolver::Handler, Ending::Ok) => Decision::Confirm { amended: None },
        (Resolver::Handler, Ending::Err) if !ask_on_err => Decision::Cancel,
        (Resolver::Handler, Ending::Err | Ending::Vanished) => Decision::AskLater,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::message::FenceId;

    const FENCE: Resolver = Resolver::Fence(FenceId::from_uuid(Uuid::nil()));

    fn body(begun: bool, commit: Commit) -> Body {
        Body { begun, commit, ..Body::default() }
    }

    #[track_caller]
    fn check(resolver: Resolver, ending: Ending, body: &Body, expected: &Decision) {
        assert_eq!(decide(resolver, ending, body, false), *expected);
    }

    #[test]
    fn fenced() {
        let confirm = Decision::Confirm { amended: None };
        check(FENCE, Ending::Ok, &body(true, Commit::Proven), &confirm);
        check(FENCE, Ending::Ok, &body(true, Commit::Not), &Decision::AskFence);
        check(FENCE, Ending::Ok, &body(true, Commit::Unclear), &Decision::AskFence);
        check(FENCE, Ending::Ok, &body(false, Commit::Not), &Decision::ParkForgotten);
        for commit in [Commit::Not, Commit::Unclear, Commit::Proven] {
            check(FENCE, Ending::Err, &body(true, commit), &Decision::AskFence);
            check(FENCE, Ending::Vanished, &body(true, commit), &Decision::AskFence);
        }
        check(FENCE, Ending::Err, &body(false, Commit::Not), &Decision::AskFence);
        check(FENCE, Ending::NeverRan, &body(false, Commit::Not), &Decision::Cancel);
    }

    #[test]
    fn in_the_callers_transaction() {
        let entered = |commit| Body { entered: true, ..body(true, commit) };
        for ending in [Ending::Ok, Ending::Err, Ending::Vanished] {
            check(FENCE, ending, &entered(Commit::Callers), &Decision::AwaitCommit);
        }
        check(FENCE, Ending::Ok, &entered(Commit::Not), &Decision::ParkForgotten);
        check(FENCE, Ending::Err, &entered(Commit::Not), &Decision::Cancel);
        check(FENCE, Ending::Vanished, &entered(Commit::Not), &Decision::Cancel);
        let withheld = Body { withheld: Withheld::InTransaction, ..entered(Commit::Not) };
        check(FENCE, Ending::Ok, &withheld, &Decision::Cancel);
    }

    #[test]
    fn with_a_handler() {
        let body = Body::default();
        check(Resolver::Handler, Ending::Ok, &body, &Decision::Confirm { amended: None });
        check(Resolver::Handler, Ending::Err, &body, &Decision::Cancel);
        check(Resolver::Handler, Ending::Vanished, &body, &Decision::AskLater);
        check(Resolver::Handler, Ending::NeverRan, &body, &Decision::Cancel);
        assert_eq!(decide(Resolver::Handler, Ending::Err, &body, true), Decision::AskLater);
    }

    #[test]
    fn withheld() {
        for said in [Withheld::InTransaction, Withheld::ForTheCall] {
            let withheld =
                |commit| Body { withheld: said, begun: commit != Commit::Not, commit, ..Body::default() };
            check(FENCE, Ending::Ok, &withheld(Commit::Not), &Decision::Cancel);
            check(FENCE, Ending::Ok, &withheld(Commit::Proven), &Decision::Cancel);
            check(Resolver::Handler, Ending::Ok, &withheld(Commit::Not), &Decision::Cancel);
            check(FENCE, Ending::Err, &withheld(Commit::Unclear), &Decision::AskFence);
        }
    }

    #[test]
    fn an_amended_payload_goes_with_the_confirm() {
        let amended = Body { amended: Some(vec![1]), ..body(true, Commit::Proven) };
        check(FENCE, Ending::Ok, &amended, &Decision::Confirm { amended: Some(vec![1]) });
    }
}
