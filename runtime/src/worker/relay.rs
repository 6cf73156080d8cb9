//! The relay: moves confirmed messages to the transport.
//!
//! Most come from the reporter, in memory. The table is read only for what nobody holds: retries,
//! what did not fit into the queue, and what a process that died has left behind.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::answer::{Fate, after_publish};
use super::persist::persist;
use super::{Worker, log_store_error};
use crate::core::Core;
use crate::fault;
use crate::message::MessageId;
use crate::message::state::Event;
use crate::store::{Attempts, Bounds, Change, Claim, Postponement, StoreError};
use crate::transport::{Outgoing, Publication};

/// Publishes confirmed messages, many at once, and notes what became of each.
#[derive(Debug)]
pub(crate) struct Relay {
    core: Arc<Core>,
    outgoing: Receiver<Outgoing>,
    publishing: JoinSet<Option<Published>>,
    /// Known outcomes that the store does not have yet; kept here over a panic.
    published: Vec<Published>,
}

/// A message whose fate is known.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    id: MessageId,
    attempt: u32,
    publication: Publication,
}

/// Forgets a row when its publish ends without a word, as by a panic: it lapses and comes again.
struct Held {
    core: Arc<Core>,
    id: MessageId,
    settled: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.settled {
            self.core.leases.let_go([&self.id]);
        }
    }
}

impl Relay {
    pub(crate) fn new(core: &Arc<Core>, outgoing: Receiver<Outgoing>) -> Self {
        Self { core: Arc::clone(core), outgoing, publishing: JoinSet::new(), published: Vec::new() }
    }

    #[cfg(feature = "testing")]
    /// Publishes everything that is due now, and waits for it. Says how many messages that was.
    pub(crate) async fn run_once(&mut self) -> Result<usize, StoreError> {
        while let Ok(outgoing) = self.outgoing.try_recv() {
            self.publish(outgoing);
        }
        self.claim().await?;
        let mut count = 0;
        while let Some(done) = self.publishing.join_next().await {
            self.published.extend(done.ok().flatten());
            count += 1;
        }
        self.note().await;
        Ok(count)
    }

    fn room(&self) -> usize {
        let window = self.core.settings.relay_window.saturating_sub(self.publishing.len());
        window.min(self.core.transport.capacity())
    }

    async fn claim_if_there_is_room(&mut self) -> Result<bool, StoreError> {
        if self.room() == 0 { Ok(false) } else { self.claim().await }
    }

    async fn claim(&mut self) -> Result<bool, StoreError> {
        let core = &self.core;
        let bounds = Bounds {
            rows: u32::try_from(self.room()).unwrap_or(u32::MAX),
            bytes: core.settings.relay_bytes,
            take_over_until: core.leases.take_over_until(),
        };
        let deadline = core.leases.deadline();
        let Claim { rows, undecodable } = core.store.claim_confirmed(bounds, core.leases.hold()).await?;
        let full = rows.len() as u64 >= u64::from(bounds.rows);
        for row in undecodable {
            tracing::error!(id = %row.id, why = row.why, "a confirmed message can't be read and is dead");
            self.bury(row.id, row.why).await;
        }
        for row in rows {
            // Ours already, by a lease that lapsed in an outage: it is being published right now.
            if self.core.leases.holds(&row.half.id) {
                continue;
            }
            self.core.leases.took([row.half.id], deadline);
            fault::point("claimed");
            self.publish(Outgoing { attempt: row.attempts.saturating_add(1), half: Arc::new(row.half) });
        }
        Ok(full)
    }

    fn publish(&mut self, outgoing: Outgoing) {
        let core = Arc::clone(&self.core);
        self.publishing.spawn(async move {
            let id = outgoing.half.id;
            let mut held = Held { core: Arc::clone(&core), id, settled: false };
            // A copy in memory may be published only while the row is surely ours.
            if !core.leases.surely_holds(&id) {
                return None;
            }
            if fault::bug("mark-before-ack") {
                persist(&core, Self::NAME, Event::Acknowledged, &[Change::of(id)], None).await;
            }
            let publication = core.transport.publish(&outgoing).await;
            fault::point("acked");
            held.settled = true;
            Some(Published { id, attempt: outgoing.attempt, publication })
        });
    }

    /// Brings what is known to the store: delivered, again later, or dead.
    async fn note(&mut self) {
        let (acknowledged, failed): (Vec<_>, Vec<_>) =
            self.published.iter().cloned().partition(|one| one.publication == Publication::Acknowledged);
        if !acknowledged.is_empty() {
            let changes: Vec<_> = acknowledged.iter().map(|one| Change::of(one.id)).collect();
            // What is not noted is published again: a duplicate, no loss.
            let marked = persist(&self.core, Self::NAME, Event::Acknowledged, &changes, None);
            fault::pending("mark-sent", marked).await;
            fault::point("marked");
            metrics::counter!("transactional_message_delivered_total").increment(changes.len() as u64);
        }
        for one in failed {
            self.note_failure(one).await;
        }
        self.published.clear();
    }

    async fn note_failure(&self, one: Published) {
        let Published { id, attempt, publication } = one;
        let fate = after_publish(&publication, attempt, self.core.settings.delivery_attempts);
        let reason = match publication {
            Publication::Acknowledged => return,
            Publication::Unroutable(why) => format!("unroutable: {why}"),
            Publication::NotNow(why) | Publication::Failed(why) | Publication::Refused(why) => why,
        };
        let backoff = self.core.settings.delivery_backoff;
        if fate == Fate::AgainUncounted {
            return self.give_back(id, backoff.delay(0), Attempts::Keep, Some(reason)).await;
        }
        metrics::counter!("transactional_message_delivery_failures_total").increment(1);
        if fate == Fate::Dead {
            tracing::error!(%id, attempt, reason, "a message can't be delivered and waits for a person");
            return self.bury(id, reason).await;
        }
        let after = backoff.delay(attempt.saturating_sub(1));
        tracing::warn!(%id, attempt, reason, retry_in = ?after, "a message was not delivered");
        self.give_back(id, after, Attempts::Spend, Some(reason)).await;
    }

    async fn bury(&self, id: MessageId, reason: String) {
        let change = Change::of(id).held_by(self.core.leases.token()).because(reason);
        persist(&self.core, Self::NAME, Event::GiveUp, &[change], None).await;
    }

    async fn give_back(&self, id: MessageId, after: Duration, attempts: Attempts, reason: Option<String>) {
        let held_by = self.core.leases.token();
        let back = [Postponement { id, held_by, after, attempts, reason: reason.map(Into::into) }];
        // First: what is due again must not look as if it were still being worked on.
        self.core.leases.let_go([&id]);
        if let Err(error) = self.core.store.postpone(&back).await {
            // Not given back, it lapses; no more is lost than the count of this attempt.
            log_store_error(Self::NAME, &error);
        }
    }

    /// Publishes what is in memory, and waits for it. Whatever a deadline cuts off lapses, and is
    /// taken over by others within a lease.
    async fn wind_up(&mut self) {
        self.outgoing.close();
        while let Some(outgoing) = self.outgoing.recv().await {
            self.publish(outgoing);
        }
        while let Some(done) = self.publishing.join_next().await {
            self.published.extend(done.ok().flatten());
            self.note().await;
        }
    }
}

#[async_trait]
impl Worker for Relay {
    const NAME: &'static str = "relay";

    async fn run(&mut self, stop: &CancellationToken) {
        let mut poll = tokio::time::interval(self.core.settings.poll_interval);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What a panic kept from being noted.
        self.note().await;
        loop {
            let room = self.room() > 0;
            tokio::select! {
                Some(done) = self.publishing.join_next() => {
                    self.published.extend(done.ok().flatten());
                    // Whatever else is done goes in the same statement.
                    while let Some(done) = self.publishing.try_join_next() {
                        self.published.extend(done.ok().flatten());
                    }
                    self.note().await;
                }
                Some(outgoing) = self.outgoing.recv(), if room => self.publish(outgoing),
                // Also what wakes the relay when a transport that was away takes messages again.
                _ = poll.tick() => match self.claim_if_there_is_room().await {
                    // There may be more: look again at once.
                    Ok(true) => poll.reset_immediately(),
                    Ok(false) => {}
                    Err(error) => log_store_error(Self::NAME, &error),
                },
                () = stop.cancelled() => return self.wind_up().await,
            }
        }
    }
}
