//! The relay: moves confirmed messages to the transport.
//!
//! Most come from the reporter and the checker, in memory. The table is read only for what nobody holds: retries,
//! what did not fit into the queue, and what a process that died has left behind. Reading the table,
//! publishing, and noting what became of it go on side by side.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc::Receiver;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::note::{Note, bury, fate, note};
use super::persist::persist;
use super::places::{Placed, Room};
use super::{PACE, Worker, log_store_error};
use crate::core::Core;
use crate::fault;
use crate::message::state::Event;
use crate::store::{Bounds, Change, Claim, StoreError};
use crate::transport::Outgoing;

/// Publishes confirmed messages, many at once, and notes what became of each.
#[derive(Debug)]
pub(crate) struct Relay {
    core: Arc<Core>,
    outgoing: Receiver<Placed>,
    /// Read from the table, and not yet being published.
    claimed: VecDeque<Held>,
    /// The statement that reads the table, one at a time.
    claiming: JoinSet<Result<Claimed, StoreError>>,
    /// The last one found as much as it may, so that there may be more.
    more: bool,
    publishing: JoinSet<Option<Note>>,
    /// Known outcomes that no statement carries yet.
    published: Vec<Note>,
    /// The statement that carries known outcomes to the store, one at a time; and which.
    noting: JoinSet<Vec<Note>>,
    noted: Vec<Note>,
    /// What the store failed over waits here until it is tried again.
    later: JoinSet<Vec<Note>>,
    failures: u32,
    /// When the next one may begin.
    next_note: Instant,
}

/// What was read from the table.
#[derive(Debug)]
struct Claimed {
    messages: Vec<Held>,
    /// As many as may be.
    full: bool,
}

/// A message that is ours. Forgotten when its publish ends without a word, as by a panic, it lapses
/// and comes again.
#[derive(Debug)]
struct Held {
    core: Arc<Core>,
    outgoing: Outgoing,
    /// Of what did not come from the table.
    room: Option<Room>,
    settled: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.settled {
            self.core.leases.let_go([&self.outgoing.half.id]);
        }
    }
}

impl Relay {
    pub(crate) fn new(core: &Arc<Core>, outgoing: Receiver<Placed>) -> Self {
        Self {
            core: Arc::clone(core),
            outgoing,
            claimed: VecDeque::new(),
            claiming: JoinSet::new(),
            more: false,
            publishing: JoinSet::new(),
            published: Vec::new(),
            noting: JoinSet::new(),
            noted: Vec::new(),
            later: JoinSet::new(),
            failures: 0,
            next_note: Instant::now(),
        }
    }

    #[cfg(feature = "testing")]
    /// Publishes everything that is due now, and waits for it. Says how many messages that was.
    pub(crate) async fn run_once(&mut self) -> Result<usize, StoreError> {
        self.claimed.extend(claim(&self.core, self.window()).await?.messages);
        let count = self.outgoing.len() + self.claimed.len();
        self.publish_all().await;
        Ok(count)
    }

    fn window(&self) -> usize {
        self.core.settings.relay_window
    }

    fn has_room(&self) -> bool {
        self.publishing.len() < self.window() && self.core.transport.capacity() > 0
    }

    /// Reads the table, unless that would only fill the memory.
    fn claim_more(&mut self) {
        let rows = self.window().min(self.core.transport.capacity().saturating_sub(self.claimed.len()));
        if self.claiming.is_empty() && self.claimed.len() <= self.window() / 2 && rows > 0 {
            self.more = false;
            let core = Arc::clone(&self.core);
            self.claiming.spawn(async move { claim(&core, rows).await });
        }
    }

    fn was_claimed(&mut self, done: Result<Result<Claimed, StoreError>, JoinError>) {
        match done {
            Ok(Ok(Claimed { messages, full })) => {
                self.claimed.extend(messages);
                self.more = full;
            }
            Ok(Err(error)) => log_store_error(Self::NAME, &error),
            Err(_) => {}
        }
    }

    fn publish(&mut self, mut held: Held) {
        self.publishing.spawn(async move {
            let core = Arc::clone(&held.core);
            let id = held.outgoing.half.id;
            // A copy in memory may be published only while the row is surely ours.
            if !core.leases.surely_holds(&id) {
                return None;
            }
            if fault::bug("mark-before-ack") {
                persist(&core, Self::NAME, Event::Acknowledged, &[Change::of(id)], None).await;
            }
            let publication = core.transport.publish(&held.outgoing).await;
            fault::point("acked");
            held.settled = true;
            drop(held.room.take());
            Some(fate(&core, id, held.outgoing.attempt, publication))
        });
    }

    fn hold(&self, Placed { outgoing, room }: Placed) -> Held {
        Held { core: Arc::clone(&self.core), outgoing, room: Some(room), settled: false }
    }

    /// Whether there is something to note, and no statement on its way.
    fn has_news(&self) -> bool {
        self.noting.is_empty() && !self.published.is_empty()
    }

    /// Brings what is known to the store, with whatever else became known since the last time.
    fn note_more(&mut self) {
        self.next_note = Instant::now() + PACE;
        self.noted = std::mem::take(&mut self.published);
        let (core, published) = (Arc::clone(&self.core), self.noted.clone());
        self.noting.spawn(async move { note(&core, published).await });
    }

    /// What a panic kept from being noted is noted again; what the store failed over, after a pause.
    fn was_noted(&mut self, done: Result<Vec<Note>, JoinError>) {
        let noted = std::mem::take(&mut self.noted);
        match done {
            Err(_) => self.published.extend(noted),
            Ok(failed) if failed.is_empty() => self.failures = 0,
            Ok(failed) => {
                let pause = self.core.settings.report_backoff.delay(self.failures);
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
        while let Ok(placed) = self.outgoing.try_recv() {
            let held = self.hold(placed);
            self.publish(held);
        }
        while let Some(held) = self.claimed.pop_front() {
            self.publish(held);
        }
        while let Some(done) = self.publishing.join_next().await {
            self.published.extend(done.ok().flatten());
            while let Some(done) = self.publishing.try_join_next() {
                self.published.extend(done.ok().flatten());
            }
            self.note_all().await;
        }
        self.note_all().await;
    }

    async fn note_all(&mut self) {
        loop {
            while let Some(done) = self.noting.join_next().await {
                self.was_noted(done);
            }
            while let Some(done) = self.later.join_next().await {
                self.published.extend(done.unwrap_or_default());
            }
            if self.published.is_empty() {
                return;
            }
            self.note_more();
        }
    }
}

/// Takes confirmed messages that nobody holds.
async fn claim(core: &Arc<Core>, rows: usize) -> Result<Claimed, StoreError> {
    let bounds = Bounds {
        rows: u32::try_from(rows).unwrap_or(u32::MAX),
        bytes: core.settings.relay_bytes,
        lapsed_before: core.leases.lapsed_before(),
    };
    let deadline = core.leases.deadline();
    let Claim { rows, undecodable } =
        core.store.claim_confirmed(core.services.names(), bounds, core.leases.hold()).await?;
    let full = rows.len() as u64 >= u64::from(bounds.rows);
    let mut messages = Vec::with_capacity(rows.len());
    for row in rows {
        // Ours already, by a lease that lapsed in an outage: it is being published right now.
        if core.leases.holds(&row.half.id) {
            continue;
        }
        core.leases.took([row.half.id], deadline);
        let outgoing = Outgoing {
            attempt: row.attempts.saturating_add(1),
            suspect: row.taken_over.is_some(),
            half: row.half,
        };
        messages.push(Held { core: Arc::clone(core), outgoing, room: None, settled: false });
        fault::point("claimed");
    }
    for row in undecodable {
        tracing::error!(id = %row.id, why = row.why, "a confirmed message can't be read and is dead");
        bury(core, row.id, row.why).await;
    }
    Ok(Claimed { messages, full })
}

#[async_trait]
impl Worker for Relay {
    const NAME: &'static str = "relay";

    async fn run(&mut self, stop: &CancellationToken) {
        let mut poll = tokio::time::interval(self.core.settings.poll_interval);
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
                () = tokio::time::sleep_until(self.next_note), if self.has_news() => self.note_more(),
                Some(done) = self.noting.join_next() => self.was_noted(done),
                Some(done) = self.later.join_next() => self.published.extend(done.unwrap_or_default()),
                Some(placed) = self.outgoing.recv(), if room => {
                    let held = self.hold(placed);
                    self.publish(held);
                }
                () = std::future::ready(()), if room && !self.claimed.is_empty() => {
                    if let Some(held) = self.claimed.pop_front() {
                        self.publish(held);
                    }
                }
                // Also what wakes the relay when a transport that was away takes messages again.
                _ = poll.tick() => self.claim_more(),
                Some(done) = self.claiming.join_next() => self.was_claimed(done),
                () = stop.cancelled() => break,
            }
        }
        self.outgoing.close();
        // A claim on its way is ours, and nobody else's until its lease lapses.
        while let Some(done) = self.claiming.join_next().await {
            self.was_claimed(done);
        }
        self.publish_all().await;
    }
}
