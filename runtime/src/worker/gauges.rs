//! The gauges: looks every few seconds at what waits in the store, and at what this process has in hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::call::admission::Admission;
use crate::check_back::registry::Registry;
use crate::fence::registry::Fences;
use crate::held::HeldStore;
use crate::message::AnsweredBy;
use crate::store::{Gauge, Gauges, LONG_DUE, StoreError};
use crate::telemetry;
use crate::telemetry::catalogue::{
    CALLS_IN_PROGRESS, LEASES_HELD, MESSAGES_NOW, OLDEST, OLDEST_DUE, OLDEST_UNFINISHED, STORE_CONTACT_AGE,
    UNANSWERABLE,
};
use crate::telemetry::labels::{DueState, State};

/// As often as Prometheus usually asks.
const EVERY: Duration = Duration::from_secs(15);

/// Sets the gauges.
#[derive(Debug)]
pub(crate) struct Sampler {
    held: HeldStore,
    fences: Arc<Fences>,
    handlers: Arc<Registry>,
    admission: Arc<Admission>,
    /// The look at the store, one at a time: nobody waits for it, least of all the next one.
    sampling: JoinSet<Result<Gauges, StoreError>>,
    /// When the store last answered one.
    answered: Instant,
    /// Who did not answer at the last look, and about how many.
    unanswerable: BTreeMap<String, u64>,
}

impl Sampler {
    pub(crate) fn new(
        held: &HeldStore,
        fences: &Arc<Fences>,
        handlers: &Arc<Registry>,
        admission: &Arc<Admission>,
    ) -> Self {
        Self {
            held: held.of(Self::NAME),
            fences: Arc::clone(fences),
            handlers: Arc::clone(handlers),
            admission: Arc::clone(admission),
            sampling: JoinSet::new(),
            answered: Instant::now(),
            unanswerable: BTreeMap::new(),
        }
    }

    fn look(&mut self) {
        CALLS_IN_PROGRESS.get().set(telemetry::count(self.admission.under_way()));
        LEASES_HELD.get().set(telemetry::count(self.held.leases().count()));
        self.tell_contact();
        if self.sampling.is_empty() {
            let store = Arc::clone(self.held.store());
            self.sampling.spawn(async move { store.gauges(LONG_DUE).await });
        }
    }

    fn tell_contact(&self) {
        STORE_CONTACT_AGE.get().set(self.silence().as_secs_f64());
    }

    /// For how long the store has not answered. Renewals must be answered, which it does only if it can be written to; and
    /// looks, between which it is silent for some time though nothing is wrong.
    fn silence(&self) -> Duration {
        let leases = self.held.leases();
        leases.silence().saturating_sub(leases.tick()).max(self.answered.elapsed().saturating_sub(EVERY))
    }

    /// What the store has said; without an answer everything stays as it was, but for the time since the last one.
    fn note(&mut self, done: Result<Result<Gauges, StoreError>, JoinError>) {
        match done {
            Ok(Ok(gauges)) => {
                self.answered = Instant::now();
                self.tell(gauges);
            }
            // The log has it from the lease renewer.
            Ok(Err(error)) => tracing::debug!(%error, "the store did not say what waits there"),
            Err(_) => {}
        }
        self.tell_contact();
    }

    fn tell(&mut self, gauges: Gauges) {
        let Gauges { half, confirmed, parked, dead, unanswered } = gauges;
        let seconds = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64();
        let states = [
            (State::Half, half),
            (State::Confirmed, confirmed),
            (State::Parked, parked),
            (State::Dead, dead),
        ];
        for (state, Gauge { count, oldest, .. }) in states {
            MESSAGES_NOW.at(state).set(telemetry::count(usize::try_from(count).unwrap_or(usize::MAX)));
            OLDEST.at(state).set(seconds(oldest));
        }
        for (state, Gauge { due_for, .. }) in [(DueState::Half, half), (DueState::Confirmed, confirmed)] {
            OLDEST_DUE.at(state).set(seconds(due_for));
        }
        OLDEST_UNFINISHED.get().set(seconds(half.oldest.max(confirmed.oldest)));
        self.tell_unanswerable(unanswered);
    }

    fn tell_unanswerable(&mut self, unanswered: Vec<(String, u64)>) {
        self.unanswerable.values_mut().for_each(|count| *count = 0);
        for (answered_by, count) in unanswered {
            *self.unanswerable.entry(self.name(&answered_by)).or_default() += count;
        }
        for (name, count) in &self.unanswerable {
            let count = usize::try_from(*count).unwrap_or(usize::MAX);
            UNANSWERABLE.one(name).set(telemetry::count(count));
        }
        // Those that are 0 have been told so.
        self.unanswerable.retain(|_, count| *count > 0);
    }

    /// Who answers, as the other metrics call it; a fence that this process does not have, by its identity.
    fn name(&self, answered_by: &str) -> String {
        match answered_by.parse() {
            Ok(AnsweredBy::Fence(identity)) => {
                self.fences.name(identity).map_or_else(|| answered_by.to_owned(), ToOwned::to_owned)
            }
            Ok(AnsweredBy::Handler { name, .. }) => name,
            Ok(AnsweredBy::Nobody) | Err(_) => answered_by.to_owned(),
        }
    }
}

#[async_trait]
impl Worker for Sampler {
    const NAME: &'static str = "gauges";

    async fn run(&mut self, stop: &CancellationToken) {
        // Whom this process knows is told about from the first look on.
        for name in self.fences.iter().map(|(name, _)| name).chain(self.handlers.names()) {
            self.unanswerable.entry(name.to_owned()).or_default();
        }
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.look(),
                Some(done) = self.sampling.join_next() => self.note(done),
                () = stop.cancelled() => return,
            }
        }
    }
}
