//! The messenger's life: migrate, start, shut down.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Messenger;
use crate::core::{Core, Inlets, Phase};
use crate::error::{Error, ErrorKind};
use crate::message::MessageId;
use crate::store::StoreError;
use crate::worker::checker::Checker;
use crate::worker::janitor::{Janitor, Prune, Report};
use crate::worker::keeper::Keeper;
use crate::worker::link::Link;
use crate::worker::relay::Relay;
use crate::worker::reporter::Reporter;
use crate::worker::{Worker, supervise};

/// What is waiting to be started, and what runs.
#[derive(Debug)]
pub(crate) struct Parts {
    inlets: Option<Inlets>,
    #[cfg(feature = "_sql")]
    consumers: Vec<crate::consumer::ConsumerLoop>,
    running: Vec<Running>,
    /// Where they run.
    started: Option<(Arc<Core>, Handle)>,
}

/// How long the workers may take to finish when nobody waits for them.
const UNATTENDED: Duration = Duration::from_secs(5);

/// A worker, and how to stop it. In the order in which they are stopped.
#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Parts {
    pub(super) const fn new(inlets: Inlets) -> Self {
        Self {
            inlets: Some(inlets),
            #[cfg(feature = "_sql")]
            consumers: Vec::new(),
            running: Vec::new(),
            started: None,
        }
    }

    #[cfg(feature = "_sql")]
    pub(super) fn add_consumer(&mut self, consumer: crate::consumer::ConsumerLoop) {
        self.consumers.push(consumer);
    }

    fn run(&mut self, core: &Arc<Core>, worker: impl Worker) {
        let stop = CancellationToken::new();
        let core = Arc::clone(core);
        let task = supervise(worker, stop.clone(), move || core.worker_ended());
        self.running.push(Running { stop, task });
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        let running = std::mem::take(&mut self.running);
        if let Some((core, runtime)) = self.started.take()
            && !running.is_empty()
        {
            tracing::warn!(
                "a messenger was dropped without `Messenger::shutdown`: its workers are stopped; what they can't finish \
                 within {UNATTENDED:?} is left to other processes, or to the next start"
            );
            core.enter(Phase::Running, Phase::Stopping);
            // Nothing happens when that runtime has ended, and the workers with it.
            runtime.spawn(async move {
                let deadline = Instant::now() + UNATTENDED;
                stop_all(running, deadline).await;
                close(&core, deadline).await;
            });
        }
    }
}

/// Stops workers, one after the other. Says whether all came to their end in time.
async fn stop_all(running: Vec<Running>, deadline: Instant) -> bool {
    let mut in_time = true;
    for Running { stop, mut task } in running {
        stop.cancel();
        let ended = timeout_at(deadline, &mut task).await;
        if !matches!(ended, Ok(Ok(()))) {
            task.abort();
            in_time = false;
        }
    }
    in_time
}

/// Closes the connections to all databases.
async fn close(core: &Core, deadline: Instant) {
    let soon = || deadline.max(Instant::now() + Duration::from_millis(100));
    let _ = timeout_at(soon(), core.store.close()).await;
    for (_, fence) in core.fences.iter() {
        let _ = timeout_at(soon(), fence.close()).await;
    }
}

impl Messenger {
    /// Creates or updates the tables: the message store's, the fences', the inboxes'. Safe to call
    /// at every start, by many processes at once.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]; [`ErrorKind::Schema`] when the tables are newer than this crate.
    ///
    /// # Cancel safety
    /// Dropped half-way, some tables are there and others are not; call it again.
    pub async fn migrate(&self) -> Result<(), Error> {
        self.migrate_all()
            .await
            .map_err(|cause| cause.into_error("the tables could not be created or updated"))
    }

    async fn migrate_all(&self) -> Result<(), StoreError> {
        self.core().store.migrate().await?;
        self.core().fences.migrate().await?;
        #[cfg(feature = "_sql")]
        for consumer in &self.parts.lock().await.consumers {
            consumer.migrate().await?;
        }
        Ok(())
    }

    /// Checks the tables, starts the workers, and lets calls in.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] when the tables are missing or of another version: call
    /// [`migrate`](Self::migrate). [`ErrorKind::Configuration`] when two fences are one database,
    /// or the messenger was started before. [`ErrorKind::Unavailable`].
    ///
    /// # Cancel safety
    /// Not cancel safe: a messenger whose start was dropped half-way runs no workers; build another.
    pub async fn start(&self) -> Result<(), Error> {
        let inlets = self.prepare().await?;
        let core = self.core();
        let mut parts = self.parts.lock().await;
        parts.started = Some((Arc::clone(core), Handle::current()));
        let mut inboxes: Vec<Arc<dyn Prune>> = Vec::new();
        #[cfg(feature = "_sql")]
        for consumer in &parts.consumers {
            inboxes.push(consumer.prune());
        }
        // Stopped in this order: each may still feed those after it.
        parts.run(core, Reporter::new(core, inlets.reports));
        parts.run(core, Checker::new(core, inlets.questions));
        if core.settings.deliver {
            parts.run(core, Relay::new(core, inlets.outgoing));
        }
        parts.run(core, Link { core: core.clone() });
        #[cfg(feature = "_sql")]
        for consumer in std::mem::take(&mut parts.consumers) {
            parts.run(core, consumer);
        }
        // Its first round, at once, says which half messages nobody here can answer for.
        parts.run(core, Janitor { core: core.clone(), inboxes, told: Report::default() });
        parts.run(core, Keeper { core: core.clone(), said: false });
        Ok(())
    }

    /// Refuses databases whose server is set so that something of ours could never work there.
    pub(super) async fn check_servers(&self) -> Result<(), Error> {
        let core = self.core();
        let limits = core.settings.limits();
        let unfit = |what: &str, cause: StoreError| match cause {
            StoreError::Refused(why) => Error::new(ErrorKind::Configuration, format!("{what}: {why}")),
            cause => cause.into_error(&format!("{what} could not be read")),
        };
        core.store.check_server(limits).await.map_err(|cause| unfit("the message store", cause))?;
        for (name, fence) in core.fences.iter() {
            let failed = |cause| unfit(&format!("the database of the fence `{name}`"), cause);
            fence.check_server(limits).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Names settings of the databases that are weaker than the promise needs.
    pub(super) async fn warn_of_weaknesses(&self) -> Result<(), Error> {
        let core = self.core();
        let stored = core.store.weaknesses().await.map_err(|cause| match cause {
            StoreError::Refused(why) => Error::new(ErrorKind::Configuration, why),
            cause => cause.into_error("the message store could not be read"),
        })?;
        for weakness in stored {
            tracing::warn!("the message store can lose messages in a crash of its machine: {weakness}");
        }
        for (name, fence) in core.fences.iter() {
            let failed = |cause: StoreError| cause.into_error("the fence's database could not be read");
            for weakness in fence.weaknesses().await.map_err(failed)? {
                tracing::warn!(
                    fence = name,
                    "the business database can lose what messages were sent for, in a crash of its machine: {weakness}"
                );
            }
        }
        Ok(())
    }

    /// Everything that `start` does before the workers run.
    pub(crate) async fn prepare(&self) -> Result<Inlets, Error> {
        let core = self.core();
        let failed = |cause: StoreError| cause.into_error("the messenger could not start");
        core.store.check_schema().await.map_err(failed)?;
        core.fences.identify().await?;
        // Makes sure that leases can be renewed before there is one: no row has this id, and it writes.
        core.store.renew(&[MessageId::nil()], core.leases.hold()).await.map_err(failed)?;
        let mut parts = self.parts.lock().await;
        #[cfg(feature = "_sql")]
        for consumer in &parts.consumers {
            consumer.check_schema().await.map_err(failed)?;
        }
        if !core.enter(Phase::Built, Phase::Running) {
            return Err(started_before());
        }
        parts.inlets.take().ok_or_else(started_before)
    }

    /// Shuts down: takes no new calls, waits for those under way, brings their reports to the
    /// store, and delivers what is in memory. What is not done within `patience` is left to others,
    /// and to the next start.
    ///
    /// Says whether everything was done in time; `false`, too, when the workers had ended before, as with the runtime in
    /// which the messenger was started. Afterwards the operator's verbs and
    /// [`stats`](Self::stats) fail, too.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped half-way, it leaves workers behind that nobody waits for.
    pub async fn shutdown(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let core = self.core();
        core.enter(Phase::Built, Phase::Stopping);
        core.enter(Phase::Running, Phase::Stopping);
        core.calls.close();
        let mut in_time = core.phase() != Phase::Ended;
        in_time &= timeout_at(deadline, core.calls.wait()).await.is_ok();
        let running = std::mem::take(&mut self.parts.lock().await.running);
        in_time &= stop_all(running, deadline).await;
        close(core, deadline).await;
        in_time
    }
}

fn started_before() -> Error {
    Error::new(ErrorKind::Configuration, "the messenger was started, or shut down, before: build another one")
}
