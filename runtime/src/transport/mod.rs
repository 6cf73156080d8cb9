//! The port to whatever carries messages to consumers.

mod foreign;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::message::{Half, Message, MessageId};
use crate::telemetry::labels::{Buried, NotDelivered};
pub use foreign::Foreign;
pub(crate) use foreign::Identify;

/// A confirmed message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) half: Arc<Half>,
    /// Which delivery attempt this is, from 1.
    pub(crate) attempt: u32,
    /// It was taken over from a process that vanished: perhaps over this message.
    pub(crate) suspect: bool,
}

/// What became of a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PublishResult {
    /// The transport has taken responsibility.
    Acknowledged,
    /// No queue takes such messages.
    Unroutable(String),
    /// Not delivered, or not known to be: to be tried again.
    Failed(NotDelivered, String),
    /// The same, and not before so much time is over.
    FailedFor(Duration, String),
    /// Not tried, since nobody is ready for it: to be tried later, and not counted.
    NotNow(String),
    /// The same, and not for so much longer: where it goes is paused, or confirms nothing.
    Paused(Duration, String),
    /// Not readable in this process, but perhaps for another version of the program: to be tried later, and not counted.
    NotHere(String),
    /// Never deliverable: trying again won't help.
    Refused(NotDelivered, String),
}

/// That a person wants nothing to be taken from a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paused {
    /// When that ends by itself.
    pub(crate) until: Instant,
    /// Of a message that is put off because of it.
    pub(crate) reason: String,
}

impl Paused {
    /// For how much longer; none if it is over.
    pub(crate) fn lasts(&self) -> Option<Duration> {
        self.until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}

/// A queue, as its consumer wants it.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(feature = "rabbitmq"),
    allow(dead_code, reason = "the store has its own settings for retries")
)]
pub(crate) struct Queue {
    pub(crate) name: String,
    /// Exchange and topic pattern.
    pub(crate) bindings: Vec<(String, String)>,
    /// How many batches of deliveries are handled at once; it may change at any time.
    pub(crate) concurrency: watch::Receiver<usize>,
    /// How many deliveries are handled together, at most.
    pub(crate) batch: usize,
    /// Nothing more is to be taken.
    pub(crate) paused: watch::Receiver<Option<Paused>>,
    /// How long a failed delivery waits after the first attempt, the second, and so on.
    pub(crate) retry_delays: Vec<Duration>,
    /// How long a message waits that nobody can read, before it is dead.
    pub(crate) undecodable_after: Duration,
    /// What identifies messages of other publishers.
    pub(crate) identify: Option<Identify>,
}

/// Carries messages from the relay to consumers.
#[async_trait]
pub(crate) trait Transport: fmt::Debug + Send + Sync {
    /// What kind of transport it is.
    fn kind(&self) -> &'static str;

    /// The exchanges that it knows of.
    fn exchanges(&self) -> Vec<String> {
        Vec::new()
    }

    /// Publishes one message, and waits until its fate is known. May run for many at once.
    async fn publish(&self, outgoing: &Outgoing) -> PublishResult;

    /// Says why a message could never be published here, if it could not. Asked before the body runs. What the transport
    /// learns later, it answers by [`PublishResult::Refused`].
    fn refuses(&self, _: &Message) -> Option<String> {
        None
    }

    /// How many more messages are worth being brought here now.
    fn capacity(&self) -> usize;

    /// How many messages may wait in memory to be brought here. All that are in hand when the process ends are
    /// suspects where their handlers are in this process, and come again one by one.
    fn most_in_hand(&self) -> usize {
        usize::MAX
    }

    /// After how many attempts a failure is final for a consumer that wants this many.
    fn budget(&self, attempts: u32) -> u32 {
        attempts
    }

    /// Opens a queue for the one consumer in this process that has it; also while [`run`](Self::run) runs.
    fn subscribe(&self, queue: Queue) -> Result<mpsc::Receiver<Delivery>, Error>;

    /// Does what goes on in the background, until `stop`; then finishes what is being handled.
    /// Called again after a panic.
    async fn run(&self, stop: &CancellationToken) {
        stop.cancelled().await;
    }
}

/// A message that came out of the transport.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) id: MessageId,
    pub(crate) message: Message,
    /// Which attempt this is, from 1: one more than the failures that were noted. Handlings that ended with their
    /// process are counted by the consumer itself.
    pub(crate) attempt: u32,
    /// It was delivered before, and nobody knows how that ended: perhaps it killed its process.
    pub(crate) suspect: bool,
    /// Takes the consumer's word; dropped without it, the message comes again. Closed when nobody waits for it.
    pub(crate) settle: oneshot::Sender<Disposition>,
}

/// The consumer's word on a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// The effect has happened, now or earlier: acknowledge.
    Done,
    /// It has not: deliver again later.
    Failed(String),
    /// The same, and not before so much time is over.
    FailedFor(Duration, String),
    /// It could not even be tried: deliver again later, and don't count it.
    NotNow(String),
    /// It never will: to the dead letters, with the reason.
    Rejected(Buried, String),
    /// This process can't read it; perhaps another version of the program can.
    Undecodable(String),
}
