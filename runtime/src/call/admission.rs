//! Whether calls are let in, and how many are under way.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::error::{Error, ErrorKind};

/// The door of a messenger.
#[derive(Debug)]
pub(crate) struct Admission {
    calls: TaskTracker,
    phase: AtomicU8,
}

/// Where a messenger is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Built = 0,
    Running = 1,
    Stopping = 2,
    /// Its workers ended without being told to.
    Ended = 3,
}

impl Default for Admission {
    fn default() -> Self {
        Self { calls: TaskTracker::new(), phase: AtomicU8::new(Phase::Built as u8) }
    }
}

impl Admission {
    /// Lets a call in, and counts it until its token is dropped.
    pub(super) fn admit(&self, function: &str) -> Result<TaskTrackerToken, Error> {
        let token = self.calls.token();
        let problem = match self.phase() {
            Phase::Running => return Ok(token),
            Phase::Built => "the messenger is not running yet: call `Messenger::start` first",
            Phase::Stopping => "the messenger is shutting down and takes no new calls",
            Phase::Ended => {
                "the messenger's workers have ended, because the runtime in which it was started has, or somebody aborted \
                 them; build another one, and start it in a runtime that lasts"
            }
        };
        Err(Error::new(ErrorKind::NotRunning, format!("`{function}` did not run: {problem}")))
    }

    /// Counts what belongs to a call that was let in.
    pub(super) fn another(&self) -> TaskTrackerToken {
        self.calls.token()
    }

    /// How many calls are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.calls.len()
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Built,
            1 => Phase::Running,
            2 => Phase::Stopping,
            _ => Phase::Ended,
        }
    }

    /// Moves on to `next`, if that is where the messenger's life goes. Says whether it did.
    pub(crate) fn enter(&self, from: Phase, next: Phase) -> bool {
        self.phase.compare_exchange(from as u8, next as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Lets no more calls in.
    pub(crate) fn close(&self) {
        self.enter(Phase::Built, Phase::Stopping);
        self.enter(Phase::Running, Phase::Stopping);
        self.calls.close();
    }

    /// Waits for the calls under way, once the door is closed.
    pub(crate) async fn wait(&self) {
        self.calls.wait().await;
    }

    /// Notes that a worker ended without being told to.
    pub(crate) fn worker_ended(&self) {
        if self.enter(Phase::Running, Phase::Ended) {
            tracing::error!(
                "a messenger's workers have ended, because the runtime in which it was started has, or somebody aborted \
                 them: it takes no more calls; what it has stored is settled and delivered by other processes, or at the next start"
            );
        }
    }
}
