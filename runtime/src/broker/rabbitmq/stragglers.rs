//! Messages that the broker leaves unconfirmed for long while it answers otherwise. They are left on their channel, and
//! publishing goes on on another one.
//!
//! RabbitMQ 3.10 stands still on a channel for 10 s or longer over each message to a quorum queue that has lost most of its
//! nodes. So where a straggler goes is in doubt: until a message to there is confirmed, one at a time is
//! published, on a channel that nothing else uses.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, timeout};

use super::batch::{Batch, ReturnStatus};
use super::properties::{AmqpMessage, Short};
use super::publish_connection::{Failure, PublishConnection};
use super::publish_queue::PendingPublish;

/// A message straggles when nothing was confirmed for this part of the time that a broker may take, but not longer than that.
const STRAGGLES_AFTER: (u32, Duration) = (10, Duration::from_secs(3));
/// Channels that a publisher leaves to messages whose place is in doubt.
const PROBES: usize = 8;
/// Channels that it leaves to stragglers, with those.
const CHANNELS: usize = 16;
/// The part of a connection's channels that a publisher may leave without their being closed. RabbitMQ grants 2047.
const UNCLOSED: usize = 8;
/// For how long at most a message to a place in doubt is put off.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Places in doubt that are remembered.
const REMEMBERED: usize = 1000;
/// How long closing a channel may take.
pub(super) const CLOSING: Duration = Duration::from_secs(1);

/// Exchange and routing key.
pub(super) type Place = (Short, Short);

/// A batch, and who waits for its answers. What was answered is taken out.
#[derive(Debug)]
pub(super) struct Flight {
    batch: Batch,
    messages: Vec<Option<PendingPublish>>,
}

/// What became of stragglers: the answers that have come in time.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) flight: Flight,
    pub(super) judged: Judged,
    /// The broker has closed the channel, within a second.
    closed: bool,
}

/// What became of each message, as far as it was answered.
pub(super) type Judged = Result<Vec<Option<ReturnStatus>>, Failure>;

/// A place of which it is not known whether it takes messages.
#[derive(Debug)]
struct Doubt {
    since: Instant,
    /// Batches on their way that go nowhere else.
    batches: usize,
    /// In the log.
    told: bool,
}

impl Doubt {
    fn new() -> Self {
        Self { since: Instant::now(), batches: 0, told: false }
    }
}

/// Batches that wait for the rest of their answers.
#[derive(Default)]
pub(super) struct Stragglers<'a> {
    waiting: FuturesUnordered<BoxFuture<'a, Outcome>>,
    /// Batches that have ended while something else was waited for.
    ended: VecDeque<Outcome>,
    doubts: HashMap<Place, Doubt>,
    /// Channels that were left, and were not closed within a second.
    unclosed: usize,
}

impl Flight {
    pub(super) fn new(batch: Batch, messages: Vec<PendingPublish>) -> Self {
        Self { batch, messages: messages.into_iter().map(Some).collect() }
    }

    /// Waits as long as one answer follows the other: for all of them, unless some straggle.
    pub(super) async fn answers(&mut self, connection: &PublishConnection<'_>) -> Judged {
        let (began, pause) = (Instant::now(), straggles_after(connection));
        while let Some(more) = connection.wait_within(pause, self.batch.next()).await? {
            if !more || began.elapsed() > connection.queue.patience {
                break;
            }
        }
        self.batch.judged_so_far(connection.round_trip()).await
    }

    /// Takes out what was judged.
    pub(super) fn answered(
        &mut self,
        judged: Vec<Option<ReturnStatus>>,
    ) -> impl Iterator<Item = (PendingPublish, ReturnStatus)> {
        let pairs = self.messages.iter_mut().zip(judged);
        pairs.filter_map(|(message, status)| Some((message.take_if(|_| status.is_some())?, status?)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.iter().all(Option::is_none)
    }

    /// What was not answered.
    pub(super) fn left(self) -> Vec<PendingPublish> {
        self.messages.into_iter().flatten().collect()
    }

    /// Where it goes, each place once; and whether all that goes there was taken by its queues.
    fn places(&self, judged: Option<&Judged>) -> HashMap<Place, bool> {
        let mut places = HashMap::new();
        for (n, pending) in self.messages.iter().enumerate() {
            let Some(pending) = pending else { continue };
            let status = judged.and_then(|judged| judged.as_ref().ok()?.get(n)?.as_ref());
            let taken = status.is_some_and(|status| *status != ReturnStatus::Refused);
            *places.entry(place(&pending.message)).or_insert(true) &= taken;
        }
        places
    }
}

impl<'a> Stragglers<'a> {
    /// Whether there are so many that nothing more is published before one of them ends.
    pub(super) fn are_many(&self) -> bool {
        self.waiting.len() >= CHANNELS
    }

    /// Whether so many channels were not closed that the connection may run out of them.
    pub(super) fn use_up_channels(&self, connection: &PublishConnection<'_>) -> bool {
        let granted = match connection.connection.configuration().channel_max() {
            0 => u16::MAX,
            granted => granted,
        };
        self.unclosed >= usize::from(granted) / UNCLOSED
    }

    /// Whether a message goes where others were not confirmed.
    pub(super) fn in_doubt(&self, message: &AmqpMessage) -> bool {
        self.doubt(message).is_some()
    }

    /// For how long a message is put off, if others are on their way to a place in doubt.
    pub(super) fn pause(
        &self,
        message: &AmqpMessage,
        connection: &PublishConnection<'_>,
    ) -> Option<Duration> {
        let doubt = self.doubt(message)?;
        let (probes, longest) =
            if doubt.told { (PROBES, LONGEST_PAUSE) } else { (CHANNELS, straggles_after(connection)) };
        if doubt.batches == 0 && self.waiting.len() < probes {
            return None;
        }
        // A broker that was slow is used again soon; one that is ill doesn't make many messages come and go.
        Some(doubt.since.elapsed().clamp(straggles_after(connection), longest))
    }

    fn doubt(&self, message: &AmqpMessage) -> Option<&Doubt> {
        if self.doubts.is_empty() { None } else { self.doubts.get(&place(message)) }
    }

    /// Has a batch wait for the rest of the time that the broker may take.
    pub(super) fn add(&mut self, flight: Flight, connection: &'a PublishConnection<'a>) {
        let places = flight.places(None);
        let alone = usize::from(places.len() == 1);
        if self.doubts.len() + places.len() > REMEMBERED {
            self.doubts.retain(|_, doubt| doubt.batches > 0);
        }
        for (place, _) in places {
            self.doubts.entry(place).or_insert_with(Doubt::new).batches += alone;
        }
        connection.stragglers.fetch_add(1, Ordering::Relaxed);
        self.waiting.push(Box::pin(wait(flight, connection)));
    }

    /// Does something else beside, so that none of them stands still meanwhile.
    pub(super) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                Some(outcome) = self.waiting.next() => self.ended.push_back(outcome),
            }
        }
    }

    /// Waits for the end of one batch. None if there is none.
    pub(super) async fn next(&mut self) -> Option<Outcome> {
        let outcome = match self.ended.pop_front() {
            Some(outcome) => outcome,
            None => self.waiting.next().await?,
        };
        self.unclosed += usize::from(!outcome.closed);
        let places = outcome.flight.places(Some(&outcome.judged));
        let alone = places.len() == 1;
        for (place, taken) in places {
            let told = if taken {
                self.doubts.remove(&place).is_some_and(|doubt| doubt.told)
            } else if alone && let Some(doubt) = self.doubts.get_mut(&place) {
                doubt.batches = doubt.batches.saturating_sub(1);
                // Where the connection is lost, nothing is known of the place.
                outcome.judged.is_err() || std::mem::replace(&mut doubt.told, true)
            } else {
                // Perhaps it only shared a channel with those that are not confirmed.
                continue;
            };
            let (exchange, routing_key) = (place.0.as_str(), place.1.as_str());
            if taken && told {
                tracing::info!(exchange, routing_key, "RabbitMQ: messages are confirmed again");
            } else if !taken && !told {
                tracing::warn!(
                    exchange,
                    routing_key,
                    "RabbitMQ: a message is not confirmed; such are tried singly, the others wait in the store"
                );
            }
        }
        Some(outcome)
    }
}

/// Waits, and leaves the channel.
async fn wait(mut flight: Flight, connection: &PublishConnection<'_>) -> Outcome {
    let patience = connection.queue.patience.saturating_sub(straggles_after(connection));
    let judged = match connection.wait_within(patience, flight.batch.judged()).await {
        Ok(Some(judged)) => Ok(judged),
        // Whether the broker answers at all turns out here.
        Ok(None) => flight.batch.judged_so_far(connection.round_trip()).await,
        Err(failure) => Err(failure),
    };
    let closed = match judged {
        Ok(_) => matches!(timeout(CLOSING, flight.batch.close()).await, Ok(Ok(()))),
        Err(_) => true,
    };
    connection.stragglers.fetch_sub(1, Ordering::Relaxed);
    Outcome { flight, judged, closed }
}

/// How long nothing is confirmed before a message is a straggler.
fn straggles_after(connection: &PublishConnection<'_>) -> Duration {
    let (part, most) = STRAGGLES_AFTER;
    (connection.queue.patience / part).min(most)
}

/// Where a message goes.
pub(super) fn place(message: &AmqpMessage) -> Place {
    (message.exchange.clone(), message.routing_key.clone())
}
