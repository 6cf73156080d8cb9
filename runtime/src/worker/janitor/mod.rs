//! The janitor: deletes what is finished and old, and reports what nobody can settle.

mod findings;
pub(crate) mod prune;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Worker;
use super::pauses::Pauses;
use crate::check_back::registry::Registry;
use crate::fault;
use crate::fence::registry::Fences;
use crate::held::{HeldStore, tell_operator};
use crate::message::service::Services;
use crate::message::state::Event;
use crate::message::{AnsweredBy, CallId};
use crate::settings::Settings;
use crate::store::{LONG_DUE, StoreError, Transition};
use crate::telemetry::catalogue::PRUNED;
use crate::telemetry::labels::Pruned;
use findings::Findings;
use prune::{BATCH, BATCHES, Batch, Pruning};

/// Something else that grows old: a consumer's inbox.
#[async_trait]
pub(crate) trait Prune: std::fmt::Debug + Send + Sync {
    /// Forgets at most `limit` of the records that are older than the retention.
    async fn prune(&self, limit: u32) -> Result<u64, StoreError>;
}

/// What else is pruned, which may become more at any time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inboxes(Arc<Mutex<Vec<Arc<dyn Prune>>>>);

impl Inboxes {
    #[cfg(feature = "_sql")]
    pub(crate) fn add(&self, inbox: Arc<dyn Prune>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(inbox);
    }

    fn all(&self) -> Vec<Arc<dyn Prune>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Prunes messages with their fence rows: a fence row goes only when its message is finished.
#[derive(Debug)]
pub(crate) struct Janitor {
    settings: Settings,
    services: Services,
    held: HeldStore,
    fences: Arc<Fences>,
    handlers: Arc<Registry>,
    inboxes: Inboxes,
    pauses: Pauses,
    /// What the last round found: the same is not told again.
    last: Findings,
}

impl Janitor {
    pub(crate) fn new(
        settings: &Settings,
        services: &Services,
        held: &HeldStore,
        fences: &Arc<Fences>,
        handlers: &Arc<Registry>,
        inboxes: &Inboxes,
        pauses: &Pauses,
    ) -> Self {
        Self {
            settings: *settings,
            services: services.clone(),
            held: held.of(Self::NAME),
            fences: Arc::clone(fences),
            handlers: Arc::clone(handlers),
            inboxes: inboxes.clone(),
            pauses: pauses.clone(),
            last: Findings::default(),
        }
    }

    /// One bounded round. A part that fails keeps none of the others from being done.
    async fn round(&self) -> Findings {
        let findings = Findings {
            pruned: self.or_logged(self.prune().await),
            parked: self.or_logged(self.park_overdue().await),
            unknown_fences: self.or_logged(self.unknown_fences().await),
            unanswerable: self.or_logged(self.unanswerable().await),
            forsaken: self.or_logged(self.forsaken().await),
        };
        for inbox in self.inboxes.all() {
            self.or_logged(self.prune_inbox(inbox.as_ref()).await);
        }
        findings
    }

    /// What there is, or nothing and a word in the log.
    fn or_logged<T: Default>(&self, result: Result<T, StoreError>) -> T {
        result.unwrap_or_else(|error| {
            self.held.log(&error);
            T::default()
        })
    }

    async fn prune_inbox(&self, inbox: &dyn Prune) -> Result<(), StoreError> {
        for _ in 0..BATCHES {
            let pruned = inbox.prune(BATCH).await?;
            PRUNED.at(Pruned::Inbox).increment(pruned);
            if pruned < u64::from(BATCH) {
                break;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn prune(&self) -> Result<u64, StoreError> {
        if fault::bug("fence-pruned") {
            for (_, fence) in self.fences.iter() {
                fence.forget(&fence.older_than(Duration::ZERO, BATCH).await?).await?;
            }
        }
        let pruning = Pruning { held: &self.held, fences: &self.fences, older_than: self.settings.retention };
        pruning.withheld().await;
        self.or_logged(pruning.operations().await);
        let mut pruned = 0;
        for _ in 0..BATCHES {
            let Batch { deleted, more } = pruning.messages().await?;
            pruned += deleted;
            if !more {
                break;
            }
            tokio::task::yield_now().await;
        }
        Ok(pruned)
    }

    /// Parks halves that are too old to be asked about, and that no handler here could answer for.
    async fn park_overdue(&self) -> Result<usize, StoreError> {
        // Those who could answer may not ask.
        if self.pauses.of_check_backs() {
            return Ok(0);
        }
        let Some(lapsed_before) = self.held.leases().lapsed_before() else { return Ok(0) };
        let handlers = self.handlers.answerers(&self.services);
        let overdue = self
            .held
            .store()
            .overdue_halves(self.settings.check_back_horizon, BATCH, &handlers, lapsed_before)
            .await?;
        let why = "nobody answered for it within the setting `check_back_horizon`";
        let transitions: Vec<_> = overdue
            .into_iter()
            .filter(|id| !self.held.leases().holds(id))
            .map(|id| Transition::of(id).because(why))
            .collect();
        if !transitions.is_empty() {
            let applied = self.held.store().transition(Event::Park, &transitions, None).await?;
            for (transition, applied) in transitions.iter().zip(applied) {
                tell_operator(Event::Park, transition, applied);
            }
        }
        Ok(transitions.len())
    }

    async fn unknown_fences(&self) -> Result<usize, StoreError> {
        let (store, mut unknown) = (self.held.store(), 0);
        for (name, fence) in self.fences.iter() {
            let old = || fence.older_than(self.settings.retention, BATCH);
            let known = |calls: Vec<CallId>| async move { store.known_calls(&calls).await };
            let strangers = without_message(old, known).await?;
            let (count, first) = (strangers.len(), strangers.iter().min());
            tracing::debug!(fence = name, count, ?first, "old fence rows without a message");
            unknown += count;
        }
        Ok(unknown)
    }

    /// Due halves that nobody in this process can answer for. Another process may have the handler.
    async fn unanswerable(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let mut ours: Vec<String> = self.fences.answerers().iter().map(ToString::to_string).collect();
        ours.extend(self.handlers.answerers(&self.services).iter().map(ToString::to_string));
        let mut due = self.held.store().due_by_answerer(Duration::ZERO).await?;
        due.retain(|(name, _)| !ours.contains(name) && self.stranger(name).is_none());
        Ok(due)
    }

    /// Other services whose processes have taken nothing up for long: there are none, or they have another name.
    async fn forsaken(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let mut due: BTreeMap<String, u64> = BTreeMap::new();
        for (service, count) in
            self.held.store().due_by_service(LONG_DUE, self.services.names(), BATCH).await?
        {
            *due.entry(service).or_default() += count;
        }
        for (name, count) in self.held.store().due_by_answerer(LONG_DUE).await? {
            if let Some(service) = self.stranger(&name) {
                *due.entry(service).or_default() += count;
            }
        }
        Ok(due.into_iter().collect())
    }

    /// The service of a handler, if it is another one.
    fn stranger(&self, answered_by: &str) -> Option<String> {
        match answered_by.parse() {
            Ok(AnsweredBy::Handler { service, .. }) if !self.services.has(&service) => Some(service),
            _ => None,
        }
    }
}

/// The calls that have an old fence row, and no message.
async fn without_message<Old, Known>(
    old: impl Fn() -> Old,
    known: impl FnOnce(Vec<CallId>) -> Known,
) -> Result<Vec<CallId>, StoreError>
where
    Old: Future<Output = Result<Vec<CallId>, StoreError>>,
    Known: Future<Output = Result<Vec<CallId>, StoreError>>,
{
    let mut strangers = old().await?;
    let known = known(strangers.clone()).await?;
    strangers.retain(|id| !known.contains(id));
    if !strangers.is_empty() {
        // Another process may have pruned both in between: it deletes the fence row first, so that is gone now, too.
        let still = old().await?;
        strangers.retain(|id| still.contains(id));
    }
    Ok(strangers)
}

#[async_trait]
impl Worker for Janitor {
    const NAME: &'static str = "janitor";

    async fn run(&mut self, stop: &CancellationToken) {
        let mut tick = tokio::time::interval(self.settings.janitor_interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let findings = self.round().await;
            findings.tell(&self.last);
            self.last = findings;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn a_fence_row_that_another_process_prunes_in_between_is_no_stranger() {
        let [with_message, stranger, pruned] = [CallId::new(), CallId::new(), CallId::new()];
        let rows = RefCell::new(vec![with_message, stranger, pruned]);
        let old = || std::future::ready(Ok(rows.borrow().clone()));
        let known = |_| {
            rows.borrow_mut().retain(|id| *id != pruned);
            std::future::ready(Ok(vec![with_message]))
        };
        assert_eq!(without_message(old, known).await.expect("reads"), [stranger]);
    }
}
