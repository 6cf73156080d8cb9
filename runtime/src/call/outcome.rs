//! Counts how a call ended, whatever becomes of its future.

use crate::telemetry::Handles;
use crate::telemetry::catalogue::CALLS;
use crate::telemetry::labels::CallOutcome;

/// How a call would have ended if it were dropped now. Dropped, it is counted.
#[derive(Debug)]
pub(super) struct Counted {
    calls: Handles<metrics::Counter, CallOutcome>,
    outcome: CallOutcome,
}

impl Counted {
    pub(super) fn new(function: &str) -> Self {
        Self { calls: CALLS.of(function), outcome: CallOutcome::NotRun }
    }

    pub(super) const fn body_starts(&mut self) {
        self.outcome = CallOutcome::Dropped;
    }

    pub(super) const fn body_ended(&mut self, succeeded: bool, withheld: bool) {
        self.outcome = match (succeeded, withheld) {
            (true, false) => CallOutcome::Ok,
            (true, true) => CallOutcome::Withheld,
            (false, _) => CallOutcome::Err,
        };
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let panics = self.outcome == CallOutcome::Dropped && std::thread::panicking();
        let outcome = if panics { CallOutcome::Panicked } else { self.outcome };
        self.calls.at(outcome).increment(1);
    }
}
