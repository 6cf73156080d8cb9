//! Sees to it that every call is reported.

use std::sync::Arc;

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::calls::Calls;
use super::live::{LiveCall, Report};
use crate::rules::ending::Ending;

/// Sees to it that every call is reported, whatever becomes of its future.
///
/// Dropping it only sends to a channel: no I/O, no task.
#[derive(Debug)]
pub(super) struct Ticket {
    /// Its workers are there as long as somebody has something to report.
    pub(super) calls: Calls,
    pub(super) call: Arc<LiveCall>,
    /// What is reported when the ticket is dropped; nothing after the report.
    ending: Option<Ending>,
    _alive: TaskTrackerToken,
}

impl Ticket {
    pub(super) const fn new(calls: Calls, call: Arc<LiveCall>, alive: TaskTrackerToken) -> Self {
        Self { calls, call, ending: Some(Ending::NeverRan), _alive: alive }
    }

    /// From here on, it may take effect.
    pub(super) fn body_starts(&mut self) {
        self.ending = Some(Ending::Vanished);
    }

    /// Reports `other`'s halves, too, which belong to the same.
    pub(super) fn absorb(&mut self, mut other: Self) {
        other.ending = None;
        let halves = self.call.halves.iter().chain(&other.call.halves).map(Arc::clone);
        self.call = Arc::new(self.call.with(halves.collect()));
    }

    pub(super) fn body_ended(mut self, ending: Ending) {
        self.ending = Some(ending);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(ending) = self.ending.take()
            && !self.call.halves.is_empty()
        {
            self.calls.report(Report { call: Arc::clone(&self.call), ending });
        }
    }
}
