//! Announces this process to whoever operates the store: who it is, and what it can answer and deliver.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::check_back::registry::Registry;
use crate::fence::registry::Fences;
use crate::held::HeldStore;
use crate::message::service::Services;
use crate::settings::Settings;
use crate::store::{ANNOUNCED_EVERY, ProcessInfo};
use crate::transport::Transport;

/// What operators are told of a consumer.
#[derive(Clone, Debug)]
pub(crate) struct Announced {
    pub(crate) queue: String,
    pub(crate) remembers: Duration,
    pub(crate) exchanges: Vec<String>,
}

/// The consumers of now: more may come while the messenger runs.
pub(crate) type Announcing = Arc<dyn Fn() -> Vec<Announced> + Send + Sync>;

/// Announces the process at its start and from then on, and withdraws it at its end.
pub(crate) struct Presence {
    settings: Settings,
    services: Services,
    held: HeldStore,
    fences: Arc<Fences>,
    handlers: Arc<Registry>,
    transport: Arc<dyn Transport>,
    consumers: Announcing,
    /// The last announcement did.
    failed: bool,
}

impl Presence {
    pub(crate) fn new(
        settings: &Settings,
        services: &Services,
        held: &HeldStore,
        fences: &Arc<Fences>,
        handlers: &Arc<Registry>,
        transport: &Arc<dyn Transport>,
        consumers: Announcing,
    ) -> Self {
        Self {
            settings: *settings,
            services: services.clone(),
            held: held.of(Self::NAME),
            fences: Arc::clone(fences),
            handlers: Arc::clone(handlers),
            transport: Arc::clone(transport),
            consumers,
            failed: false,
        }
    }

    /// Nothing depends on it but what operators are told, so it is said once when it fails, and not each time.
    async fn announce(&mut self) {
        let failed = match self.held.store().announce(&self.process()).await {
            Ok(()) => false,
            Err(error) => {
                if !self.failed {
                    tracing::warn!(
                        %error,
                        "this process can't announce itself to operators, who are told that it is not there; it needs \
                         SELECT, INSERT, UPDATE and DELETE on the table tm_process"
                    );
                }
                true
            }
        };
        self.failed = failed;
    }

    fn process(&self) -> ProcessInfo {
        let handlers = self.handlers.answerers(&self.services);
        let consumers = (self.consumers)();
        let bound = consumers.iter().flat_map(|consumer| consumer.exchanges.iter().cloned());
        let exchanges: BTreeSet<_> = self.transport.exchanges().into_iter().chain(bound).collect();
        let host = gethostname::gethostname();
        ProcessInfo {
            host: host.to_string_lossy().into_owned(),
            services: self.services.names().to_vec(),
            delivers: self.settings.deliver,
            answers: self.fences.answerers().iter().chain(&handlers).map(ToString::to_string).collect(),
            fences: self.fences.iter().map(|(name, _)| name.to_owned()).collect(),
            remembers: consumers.iter().map(|one| (one.queue.clone(), one.remembers.as_secs())).collect(),
            consumers: consumers.into_iter().map(|consumer| consumer.queue).collect(),
            transport: self.transport.kind().to_owned(),
            exchanges: exchanges.into_iter().collect(),
            program: program(),
            packages: self.handlers.packages().into_iter().map(str::to_owned).collect(),
            settings: self.settings.entries(),
            ..ProcessInfo::this(self.held.token())
        }
    }
}

/// The file of this program; of a rolling deployment, that of the old and of the new version.
fn program() -> String {
    let file = std::env::current_exe().ok();
    let name = file.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    // What Linux adds to a file that was replaced while its program runs.
    name.map(|name| name.trim_end_matches(" (deleted)").to_owned()).unwrap_or_default()
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence").finish_non_exhaustive()
    }
}

#[async_trait]
impl Worker for Presence {
    const NAME: &'static str = "presence";

    async fn run(&mut self, stop: &CancellationToken) {
        let mut tick = tokio::time::interval(ANNOUNCED_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = tick.tick() => {}
            }
            self.announce().await;
        }
        // As long as that takes no time: a process that is silent counts as gone.
        let withdrawn = self.held.store().withdraw(self.held.token());
        let withdrawn = tokio::time::timeout(Duration::from_millis(500), withdrawn).await;
        tracing::debug!(?withdrawn, "this process is gone");
    }
}
