//! The relay: moves confirmed messages to the transport.
//!
//! Most come from the reporter and the checker, in memory. The table is read only for what nobody holds: retries,
//! what did not fit into the queue, and what a process that died has left behind. Reading the table,
//! publishing, and recording what became of it go on side by side.

mod claim;
mod outcomes;
pub(crate) mod slots;

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc::Receiver;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use claim::{Batch, InFlight, Source};
use outcomes::{Recorded, RetryPolicy, expired, judge, put_off, record};
use slots::Queued;

use super::pauses::Pauses;
use super::{PACE, Worker};
use crate::fault;
use crate::held::HeldStore;
use crate::message::sent_ago;
use crate::message::service::Services;
use crate::message::state::Event;
use crate::settings::Settings;
use crate::store::{StoreError, Transition};
use crate::telemetry;
use crate::telemetry::catalogue::{
    DEAD, DELIVERED, DELIVERY_FAILURES, LEASES_LOST, RELAY_QUEUE, RELAY_WINDOW,
};
use crate::telemetry::labels::RelayPath;
use crate::telemetry::spans;
use crate::transport::{Outgoing, PublishResult, Transport};

/// Publishes confirmed messages, many at once, and records what became of each.
#[derive(Debug)]
pub(crate) struct Relay {
    source: Source,
    settings: Settings,
    transport: Arc<dyn Transport>,
    pauses: Pauses,
    queue: Receiver<Queued>,
    /// Read from the table, and not yet being published.
    claimed: VecDeque<InFlight>,
    /// The statement that reads the table, one at a time.
    claiming: JoinSet<Result<Batch, StoreError>>,
    /// The last one found as much as it may, so that there may be more.
    more: bool,
    publishing: JoinSet<Option<Recorded>>,
    /// Known outcomes that no statement carries yet.
    published: Vec<Recorded>,
    /// The statement that carries known outcomes to the store, one at a time; and which.
    recording: JoinSet<Vec<Recorded>>,
    recorded: Vec<Recorded>,
    /// What the store failed over waits here until it is tried again.
    later: JoinSet<Vec<Recorded>>,
    failures: u32,
    /// When the next one may begin.
    next_record: Instant,
}

impl Relay {
    pub(crate) fn new(
        settings: &Settings,
        services: &Services,
        held: &HeldStore,
        transport: &Arc<dyn Transport>,
        pauses: &Pauses,
        queue: Receiver<Queued>,
    ) -> Self {
        let held = held.of(Self::NAME);
        Self {
            source: Source { held, services: services.clone(), bytes: settings.relay_bytes },
            settings: *settings,
            transport: Arc::clone(transport),
            pauses: pauses.clone(),
            queue,
            claimed: VecDeque::new(),
            claiming: JoinSet::new(),
            more: false,
            publishing: JoinSet::new(),
            published: Vec::new(),
            recording: JoinSet::new(),
            recorded: Vec::new(),
            later: JoinSet::new(),
            failures: 0,
            next_record: Instant::now(),
        }
    }

    #[cfg(feature = "testing")]
    /// Publishes everything that is due now, and waits for it. Says how many messages that was.
    pub(crate) async fn run_once(&mut self) -> Result<usize, StoreError> {
        self.claimed.extend(self.source.claim(self.window()).await?.messages);
        let count = self.queue.len() + self.claimed.len();
        self.publish_all().await;
        Ok(count)
    }

    fn window(&self) -> usize {
        self.settings.relay_window
    }

    fn has_room(&self) -> bool {
        self.publishing.len() < self.window() && self.transport.capacity() > 0
    }

    /// Reads the table, unless that would only fill the memory.
    fn claim_more(&mut self) {
        let rows = self.window().min(self.transport.capacity().saturating_sub(self.claimed.len()));
        if self.claiming.is_empty() && self.claimed.len() <= self.window() / 2 && rows > 0 {
            self.more = false;
            let source = self.source.clone();
            self.claiming.spawn(async move { source.claim(rows).await });
        }
    }

    fn was_claimed(&mut self, done: Result<Result<Batch, StoreError>, JoinError>) {
        match done {
            Ok(Ok(Batch { messages, full })) => {
                self.claimed.extend(messages);
                self.more = full;
            }
            Ok(Err(error)) => self.source.held.log(&error),
            Err(_) => {}
        }
    }

    fn publish(&mut self, mut message: InFlight) {
        if let Some(pause) = self.pauses.of_exchange(&message.outgoing.half.message.exchange) {
            self.published.push(put_off(&message.held, message.outgoing.half.id, &pause));
            message.settled = true;
            return;
        }
        let transport = Arc::clone(&self.transport);
        let Settings { delivery_attempts: attempts, delivery_backoff: backoff, .. } = self.settings;
        self.publishing.spawn(async move {
            let held = message.held.clone();
            let id = message.outgoing.half.id;
            // A copy in memory may be published only while the row is surely ours.
            if !held.leases().surely_holds(&id) {
                LEASES_LOST.get().increment(1);
                return None;
            }
            if fault::bug("mark-before-ack") {
                held.settle(Event::Acknowledged, &[Transition::of(id)], None).await;
            }
            let is_late = message.outgoing.half.is_late();
            let sent = std::time::Instant::now();
            let result =
                if is_late { None } else { Some(publish(transport.as_ref(), &message.outgoing).await) };
            fault::point("acked");
            if result == Some(PublishResult::Acknowledged) {
                message.note_delivery(sent);
            }
            message.settled = true;
            drop(message.memory.take());
            let Some(result) = result else { return Some(expired(&held, id)) };
            Some(judge(&held, RetryPolicy { attempts, backoff }, &message.outgoing, result))
        });
    }

    fn in_flight(&self, Queued { outgoing, since, memory }: Queued) -> InFlight {
        let (path, memory) = (RelayPath::Memory, Some(memory));
        InFlight {
            held: self.source.held.clone(),
            outgoing,
            path,
            since: Some(since),
            memory,
            settled: false,
        }
    }

    /// Whether there is something to record, and no statement on its way.
    fn has_news(&self) -> bool {
        self.recording.is_empty() && !self.published.is_empty()
    }

    /// Brings what is known to the store, with whatever else became known since the last time.
    fn record_more(&mut self) {
        self.next_record = Instant::now() + PACE;
        self.recorded = std::mem::take(&mut self.published);
        let (held, published) = (self.source.held.clone(), self.recorded.clone());
        self.recording.spawn(async move { record(&held, published).await });
    }

    /// What a panic kept from being recorded is recorded again; what the store failed over, after a pause.
    fn was_recorded(&mut self, done: Result<Vec<Recorded>, JoinError>) {
        let recorded = std::mem::take(&mut self.recorded);
        match done {
            Err(_) => self.published.extend(recorded),
            Ok(failed) if failed.is_empty() => self.failures = 0,
            Ok(failed) => {
                let pause = self.settings.report_backoff.delay(self.failures);
                self.failures = self.failures.saturating_add(1);
                self.later.spawn(async move {
                    tokio::time::sleep(pause).await;
                    failed
                });
            }
        }
    }

    /// Publishes what is in memory, and waits for it. Whatever a deadline cuts off lapses, and is
    /// taken over by others within a lease.
    async fn publish_all(&mut self) {
        while let Ok(queued) = self.queue.try_recv() {
            self.publish(self.in_flight(queued));
        }
        while let Some(message) = self.claimed.pop_front() {
            self.publish(message);
        }
        while let Some(done) = self.publishing.join_next().await {
            self.published.extend(done.ok().flatten());
            while let Some(done) = self.publishing.try_join_next() {
                self.published.extend(done.ok().flatten());
            }
            self.record_all().await;
        }
        self.record_all().await;
    }

    async fn record_all(&mut self) {
        loop {
            while let Some(done) = self.recording.join_next().await {
                self.was_recorded(done);
            }
            while let Some(done) = self.later.join_next().await {
                self.published.extend(done.unwrap_or_default());
            }
            if self.published.is_empty() {
                return;
            }
            self.record_more();
        }
    }
}

#[async_trait]
impl Worker for Relay {
    const NAME: &'static str = "relay";

    async fn run(&mut self, stop: &CancellationToken) {
        for exchange in self.transport.exchanges() {
            // There from now on, at 0.
            DELIVERED.of(&exchange);
            DELIVERY_FAILURES.of(&exchange);
            DEAD.of(&exchange);
        }
        let mut poll = tokio::time::interval(self.settings.poll_interval);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.more {
                self.claim_more();
            }
            let room = self.has_room();
            tokio::select! {
                Some(done) = self.publishing.join_next() => {
                    self.published.extend(done.ok().flatten());
                    // Whatever else is done goes in the same statement.
                    while let Some(done) = self.publishing.try_join_next() {
                        self.published.extend(done.ok().flatten());
                    }
                }
                () = tokio::time::sleep_until(self.next_record), if self.has_news() => self.record_more(),
                Some(done) = self.recording.join_next() => self.was_recorded(done),
                Some(done) = self.later.join_next() => self.published.extend(done.unwrap_or_default()),
                Some(queued) = self.queue.recv(), if room => {
                    self.publish(self.in_flight(queued));
                }
                () = std::future::ready(()), if room && !self.claimed.is_empty() => {
                    if let Some(message) = self.claimed.pop_front() {
                        self.publish(message);
                    }
                }
                // Also what wakes the relay when a transport that was away takes messages again.
                _ = poll.tick() => {
                    RELAY_QUEUE.get().set(telemetry::count(self.queue.len()));
                    RELAY_WINDOW.get().set(telemetry::count(self.publishing.len()));
                    self.claim_more();
                }
                Some(done) = self.claiming.join_next() => self.was_claimed(done),
                () = stop.cancelled() => break,
            }
        }
        self.queue.close();
        // A claim on its way is ours, and nobody else's until its lease lapses.
        while let Some(done) = self.claiming.join_next().await {
            self.was_claimed(done);
        }
        self.publish_all().await;
    }
}

async fn publish(transport: &dyn Transport, outgoing: &Outgoing) -> PublishResult {
    let Outgoing { half, attempt, .. } = outgoing;
    let about = (half.message.exchange.as_str(), half.message.headers.as_slice());
    let span = spans::publish(about, half.id, *attempt, || sent_ago(half.id));
    transport.publish(outgoing).instrument(span).await
}
