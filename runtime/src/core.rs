//! What a messenger consists of: shared by the protocol and the workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::check_back::registry::Registry;
use crate::error::{Error, ErrorKind};
use crate::fence::registry::Fences;
use crate::lease::Leases;
use crate::messenger::counts::Counting;
use crate::messenger::service::Services;
use crate::messenger::settings::Settings;
use crate::protocol::group_commit::GroupCommit;
use crate::protocol::{LiveCall, Report};
use crate::store::Store;
use crate::transport::Transport;
use crate::worker::alone::Alone;
use crate::worker::places::Placed;

/// The parts, and the channels between them. Data flows one way: reports → checker → relay.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) settings: Settings,
    pub(crate) services: Services,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) leases: Leases,
    /// The way of half messages to the store.
    pub(crate) group_commit: Arc<GroupCommit>,
    pub(crate) fences: Fences,
    pub(crate) handlers: Registry,
    pub(crate) transport: Arc<dyn Transport>,
    /// To the reporter. Not bounded by itself: there are only as many reports as bodies that
    /// could be started, and none starts while the store does not take halves.
    pub(crate) reports: mpsc::UnboundedSender<Report>,
    /// To the checker: calls whose fence is to be asked now.
    pub(crate) questions: mpsc::UnboundedSender<Arc<LiveCall>>,
    /// To the relay: confirmed messages, without a way through the table.
    pub(crate) outgoing: mpsc::Sender<Placed>,
    /// The bytes of payloads that may still be there.
    pub(crate) outgoing_bytes: Arc<Semaphore>,
    /// Lets a suspect run alone.
    pub(crate) alone: Alone,
    pub(crate) counting: Counting,
    /// The calls under way.
    pub(crate) calls: TaskTracker,
    phase: AtomicU8,
    #[cfg(feature = "testing")]
    pub(crate) lost_reports: crate::testing::LostReports,
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

/// The receiving ends, for the workers.
#[derive(Debug)]
pub(crate) struct Inlets {
    pub(crate) reports: mpsc::UnboundedReceiver<Report>,
    pub(crate) questions: mpsc::UnboundedReceiver<Arc<LiveCall>>,
    pub(crate) outgoing: mpsc::Receiver<Placed>,
}

impl Core {
    pub(crate) fn new(
        settings: &Settings,
        services: Services,
        store: Arc<dyn Store>,
        fences: Fences,
        handlers: Registry,
        transport: Arc<dyn Transport>,
    ) -> (Arc<Self>, Inlets) {
        let (reports, reports_in) = mpsc::unbounded_channel();
        let (questions, questions_in) = mpsc::unbounded_channel();
        let (outgoing, outgoing_in) = mpsc::channel(settings.relay_queue);
        let leases = Leases::new(settings.lease);
        let core = Arc::new(Self {
            group_commit: GroupCommit::new(Arc::clone(&store), leases.hold()),
            leases,
            settings: *settings,
            services,
            store,
            fences,
            handlers,
            transport,
            reports,
            questions,
            outgoing,
            outgoing_bytes: Arc::new(Semaphore::new(settings.relay_queue_bytes)),
            alone: Alone::default(),
            counting: Counting::default(),
            calls: TaskTracker::new(),
            phase: AtomicU8::new(Phase::Built as u8),
            #[cfg(feature = "testing")]
            lost_reports: crate::testing::LostReports::default(),
        });
        (core, Inlets { reports: reports_in, questions: questions_in, outgoing: outgoing_in })
    }

    /// Lets a call in, and counts it until its ticket is dropped.
    pub(crate) fn admit(&self, function: &str) -> Result<TaskTrackerToken, Error> {
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

    /// Notes that a worker ended without being told to.
    pub(crate) fn worker_ended(&self) {
        if self.enter(Phase::Running, Phase::Ended) {
            tracing::error!(
                "a messenger's workers have ended, because the runtime in which it was started has, or somebody aborted \
                 them: it takes no more calls; what it has stored is settled and delivered by other processes, or at the next start"
            );
        }
    }

    /// Hands a report to the reporter. Without one (after the shutdown) check-back settles the call.
    pub(crate) fn report(&self, report: Report) {
        #[cfg(feature = "testing")]
        if self.lost_reports.swallow(&report) {
            return;
        }
        if self.reports.send(report).is_err() {
            tracing::debug!("a call ended after the shutdown; check-back will settle it");
        }
    }
}
