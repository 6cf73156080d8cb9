//! The messenger's life: migrate, start, shut down.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[cfg(feature = "_sql")]
use super::consumers::Consumers;
use super::operations::Operations;
use crate::call::admission::{Admission, Phase};
use crate::call::calls::Calls;
#[cfg(feature = "_sql")]
use crate::consumer::Consumer;
use crate::error::{Error, ErrorKind};
use crate::fence::registry::Fences;
use crate::held::HeldStore;
use crate::message::MessageId;
use crate::store::StoreError;
use crate::telemetry;
use crate::worker::checker::Checker;
use crate::worker::gauges::Sampler;
use crate::worker::janitor::Janitor;
use crate::worker::lease_renewer::LeaseRenewer;
use crate::worker::pause_watcher::PauseWatcher;
use crate::worker::presence::Presence;
use crate::worker::relay::Relay;
use crate::worker::reporter::Reporter;
use crate::worker::transport_driver::TransportDriver;
use crate::worker::{Worker, supervise};

/// The workers, before they are started.
#[derive(Debug)]
pub(crate) struct Workers {
    pub(crate) reporter: Reporter,
    pub(crate) checker: Checker,
    pub(crate) relay: Relay,
    pub(super) transport_driver: TransportDriver,
    #[cfg(feature = "_sql")]
    pub(super) consumers: Vec<crate::consumer::ConsumerLoop>,
    pub(super) janitor: Janitor,
    pub(super) lease_renewer: LeaseRenewer,
    pub(super) presence: Presence,
    pub(super) pause_watcher: PauseWatcher,
    pub(super) sampler: Sampler,
}

/// What is waiting to be started, and what runs.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    waiting: Option<Workers>,
    /// They are stopped in this order, and each kind one after the other: each may still feed those after it.
    feeding: Vec<Running>,
    consumers: Vec<Running>,
    keeping: Vec<Running>,
    /// Where they run.
    started: Option<(Arc<Admission>, Databases, Handle)>,
}

/// How long the workers may take to finish when nobody waits for them.
const UNATTENDED: Duration = Duration::from_secs(5);

/// A worker, and how to stop it.
#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What is closed at the end.
#[derive(Debug)]
struct Databases {
    held: HeldStore,
    fences: Arc<Fences>,
}

impl Databases {
    fn of(calls: &Calls) -> Self {
        Self { held: calls.held.clone(), fences: Arc::clone(&calls.fences) }
    }

    /// Closes the connections.
    async fn close(&self, deadline: Instant) {
        let soon = || deadline.max(Instant::now() + Duration::from_millis(100));
        let _ = timeout_at(soon(), self.held.store().close()).await;
        for (_, fence) in self.fences.iter() {
            let _ = timeout_at(soon(), fence.close()).await;
        }
    }
}

impl Lifecycle {
    pub(super) const fn new(workers: Workers) -> Self {
        Self {
            waiting: Some(workers),
            feeding: Vec::new(),
            consumers: Vec::new(),
            keeping: Vec::new(),
            started: None,
        }
    }

    /// What runs, in the order in which it is stopped.
    fn take_running(&mut self) -> Vec<Running> {
        [&mut self.feeding, &mut self.consumers, &mut self.keeping]
            .into_iter()
            .flat_map(std::mem::take)
            .collect()
    }
}

fn run(admission: &Arc<Admission>, worker: impl Worker) -> Running {
    let stop = CancellationToken::new();
    let admission = Arc::clone(admission);
    let task = supervise(worker, stop.clone(), move || admission.worker_ended());
    Running { stop, task }
}

impl Drop for Lifecycle {
    fn drop(&mut self) {
        let running = self.take_running();
        if let Some((admission, databases, runtime)) = self.started.take()
            && !running.is_empty()
        {
            tracing::warn!(
                "a messenger was dropped without `Messenger::shutdown`: its workers are stopped; what they can't finish \
                 within {UNATTENDED:?} is left to other processes, or to the next start"
            );
            admission.enter(Phase::Running, Phase::Stopping);
            // Nothing happens when that runtime has ended, and the workers with it.
            runtime.spawn(async move {
                let deadline = Instant::now() + UNATTENDED;
                stop_all(running, deadline).await;
                databases.close(deadline).await;
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

pub(super) async fn migrate(calls: &Calls, lifecycle: &Mutex<Lifecycle>) -> Result<(), StoreError> {
    calls.held.store().migrate().await?;
    calls.fences.migrate().await?;
    #[cfg(feature = "_sql")]
    if let Some(workers) = &lifecycle.lock().await.waiting {
        for one in &workers.consumers {
            one.consumer().create_tables().await?;
        }
    }
    Ok(())
}

pub(super) async fn start(calls: &Calls, lifecycle: &Mutex<Lifecycle>) -> Result<(), Error> {
    telemetry::start(calls.held.store().kind(), calls.transport.kind());
    let mut workers = prepare(calls, lifecycle).await?;
    // What is paused is not begun.
    workers.pause_watcher.look().await;
    let mut lifecycle = lifecycle.lock().await;
    lifecycle.started = Some((Arc::clone(&calls.admission), Databases::of(calls), Handle::current()));
    let admission = &calls.admission;
    lifecycle.feeding = vec![run(admission, workers.reporter), run(admission, workers.checker)];
    if calls.settings.deliver {
        lifecycle.feeding.push(run(admission, workers.relay));
    }
    lifecycle.feeding.push(run(admission, workers.transport_driver));
    #[cfg(feature = "_sql")]
    lifecycle.consumers.extend(workers.consumers.into_iter().map(|consumer| run(admission, consumer)));
    // The janitor's first round, at once, says which half messages nobody here can answer for.
    lifecycle.keeping = vec![
        run(admission, Operations::new(calls.shared())),
        run(admission, workers.sampler),
        run(admission, workers.janitor),
        run(admission, workers.presence),
        run(admission, workers.pause_watcher),
        run(admission, workers.lease_renewer),
    ];
    Ok(())
}

/// Adds a consumer: to those that are to be started, or to those that run.
#[cfg(feature = "_sql")]
pub(super) async fn add_consumer(
    calls: &Calls,
    lifecycle: &Mutex<Lifecycle>,
    consumers: &Consumers,
    consumer: Consumer,
) -> Result<(), Error> {
    if let Some(workers) = &mut lifecycle.lock().await.waiting
        && calls.admission.phase() == Phase::Built
    {
        workers.consumers.push(consumers.add(consumer)?);
        return Ok(());
    }
    let queue = consumer.queue();
    // Not while the lifecycle is locked: a shutdown waits for no consumer's database.
    let failed = |cause: StoreError| cause.into_error(&format!("the consumer `{queue}` could not be added"));
    consumer.check_schema().await.map_err(failed)?;
    let mut lifecycle = lifecycle.lock().await;
    let Some((admission, _, runtime)) =
        lifecycle.started.as_ref().filter(|_| calls.admission.phase() == Phase::Running)
    else {
        let why = format!(
            "the consumer `{queue}` can't be added: this messenger runs no workers: it was shut down, or is a `Recorder`'s"
        );
        return Err(Error::new(ErrorKind::Configuration, why));
    };
    let added = consumers.add(consumer)?;
    let running = {
        let _there = runtime.enter();
        run(admission, added)
    };
    lifecycle.consumers.push(running);
    Ok(())
}

/// Everything that `start` does before the workers run.
pub(crate) async fn prepare(calls: &Calls, lifecycle: &Mutex<Lifecycle>) -> Result<Workers, Error> {
    let failed = |cause: StoreError| cause.into_error("the messenger could not start");
    calls.held.store().check_schema().await.map_err(failed)?;
    calls.fences.identify().await?;
    // Makes sure that leases can be renewed before there is one: no row has this id, and it writes.
    calls
        .held
        .store()
        .renew(&[MessageId::from_uuid(Uuid::nil())], calls.held.hold())
        .await
        .map_err(failed)?;
    let mut lifecycle = lifecycle.lock().await;
    #[cfg(feature = "_sql")]
    if let Some(workers) = &lifecycle.waiting {
        for one in &workers.consumers {
            one.consumer().check_schema().await.map_err(failed)?;
        }
    }
    if !calls.admission.enter(Phase::Built, Phase::Running) {
        return Err(started_before());
    }
    lifecycle.waiting.take().ok_or_else(started_before)
}

pub(super) async fn shutdown(calls: &Calls, lifecycle: &Mutex<Lifecycle>, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    let admission = &calls.admission;
    admission.close();
    let mut in_time = admission.phase() != Phase::Ended;
    in_time &= timeout_at(deadline, admission.wait()).await.is_ok();
    let running = lifecycle.lock().await.take_running();
    in_time &= stop_all(running, deadline).await;
    Databases::of(calls).close(deadline).await;
    in_time
}

fn started_before() -> Error {
    Error::new(ErrorKind::Configuration, "the messenger was started, or shut down, before: build another one")
}
