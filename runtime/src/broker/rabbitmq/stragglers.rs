//! Messages that the broker leaves unconfirmed for long while it answers otherwise. They are left on their channel, and
//! publishing goes on on another one.
//!
//! RabbitMQ 3.10 is at a standstill on a channel for 10 s over each message to a quorum queue that has lost most of its
//! nodes, and then refuses it. So where a straggler goes is in doubt: until a message to there is confirmed, one at a time is
//! published, on a channel that nothing else uses.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

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
/// How long closing a channel may take.
pub(super) const CLOSING: Duration = Duration::from_secs(1);

/// Exchange and routing key.
type Place = (Short, Short);

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
}

/// What became of each message, as far as it was answered.
pub(super) type Judged = Result<Vec<Option<ReturnStatus>>, Failure>;

/// What to do with a message whose place is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Publish it where nothing else is.
    Probe,
    /// Wait: another one is on its way.
    Wait,
}

/// Batches that wait for the rest of their answers.
#[derive(Default)]
pub(super) struct Stragglers<'a> {
    waiting: FuturesUnordered<BoxFuture<'a, Outcome>>,
    /// Places in doubt, with the batches on their way that go nowhere else.
    doubts: HashMap<Place, usize>,
}

impl Flight {
    pub(super) fn new(batch: Batch, messages: Vec<PendingPublish>) -> Self {
        Self { batch, messages: messages.into_iter().map(Some).collect() }
    }

    /// Waits as long as answers come: for all of them, unless some straggle.
    pub(super) async fn answers(&mut self, connection: &PublishConnection<'_>) -> Judged {
        let pause = straggles_after(connection);
        while let Some(more) = connection.wait_within(pause, self.batch.next()).await? {
            if !more {
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

    /// Whether a message goes where others were not confirmed.
    pub(super) fn doubt(&self, message: &AmqpMessage) -> Option<Doubt> {
        let on_their_way = if self.doubts.is_empty() { None } else { self.doubts.get(&place(message)) };
        let probed = |batches: &usize| *batches > 0 || self.waiting.len() >= PROBES;
        on_their_way.map(|batches| if probed(batches) { Doubt::Wait } else { Doubt::Probe })
    }

    /// Has a batch wait for the rest of the time that the broker may take.
    pub(super) fn add(&mut self, flight: Flight, connection: &'a PublishConnection<'a>) {
        let places = flight.places(None);
        let alone = usize::from(places.len() == 1);
        for (place, _) in places {
            *self.doubts.entry(place).or_default() += alone;
        }
        self.waiting.push(Box::pin(wait(flight, connection)));
    }

    /// Waits for the end of one batch. None if there is none.
    pub(super) async fn next(&mut self) -> Option<Outcome> {
        let outcome = self.waiting.next().await?;
        let places = outcome.flight.places(Some(&outcome.judged));
        let alone = usize::from(places.len() == 1);
        for (place, taken) in places {
            if taken {
                self.doubts.remove(&place);
            } else if let Some(batches) = self.doubts.get_mut(&place) {
                *batches = batches.saturating_sub(alone);
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
    if judged.is_ok() {
        let _ = timeout(CLOSING, flight.batch.close()).await;
    }
    Outcome { flight, judged }
}

/// How long nothing is confirmed before a message is a straggler.
fn straggles_after(connection: &PublishConnection<'_>) -> Duration {
    let (part, most) = STRAGGLES_AFTER;
    (connection.queue.patience / part).min(most)
}

fn place(message: &AmqpMessage) -> Place {
    (message.exchange.clone(), message.routing_key.clone())
}
