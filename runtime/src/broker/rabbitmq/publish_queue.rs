//! What waits to be published: the queue between those who publish and the channels.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::broker::Broker;
use super::properties::AmqpMessage;
use crate::telemetry::catalogue::{BROKER_BLOCKED, BROKER_UP};
use crate::telemetry::labels::NotDelivered;
use crate::transport::PublishResult;

/// Messages in one batch: lapin's bookkeeping is quadratic in it.
pub(super) const BATCH: usize = 256;
/// Bytes of bodies after which a batch is closed. lapin keeps a copy of each until it is sent.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How long messages wait for the first connection.
const FIRST_ATTEMPT: Duration = Duration::from_secs(3);

/// A message, and who waits for its fate.
#[derive(Debug)]
pub(super) struct PendingPublish {
    pub(super) message: AmqpMessage,
    /// It may be why a channel ended, or a connection.
    pub(super) suspect: bool,
    /// Connections that ended while it was published by itself.
    pub(super) ended: u32,
    answer: oneshot::Sender<PublishResult>,
}

impl PendingPublish {
    pub(super) fn answer(self, result: PublishResult) {
        // Nobody listens any more when the caller has left.
        let _ = self.answer.send(result);
    }
}

/// Whether there is a broker to publish to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BrokerStatus {
    /// For the first time.
    Connecting,
    Up,
    /// With the reason.
    Away(String),
    /// Connected, but the broker takes nothing now.
    Blocked(String),
}

/// Takes messages from any number of callers, and gives them to the channels in batches.
#[derive(Debug)]
pub(super) struct PublishQueue {
    broker: Broker,
    /// How long a batch may take.
    pub(super) patience: Duration,
    sender: mpsc::Sender<PendingPublish>,
    waiting: AsyncMutex<mpsc::Receiver<PendingPublish>>,
    /// Messages of batches that failed as a whole: one of each may be why. Published one by one, so that only that one is
    /// blamed.
    suspects: Mutex<VecDeque<PendingPublish>>,
    suspected: Notify,
    status: watch::Sender<BrokerStatus>,
}

impl PublishQueue {
    pub(super) fn new(broker: Broker, patience: Duration, length: usize) -> Self {
        let (sender, waiting) = mpsc::channel(length);
        let status = watch::Sender::new(BrokerStatus::Connecting);
        let (waiting, suspects, suspected) = (AsyncMutex::new(waiting), Mutex::default(), Notify::new());
        Self { broker, patience, sender, waiting, suspects, suspected, status }
    }

    /// Publishes a message, and waits until its fate is known.
    pub(super) async fn publish(&self, message: AmqpMessage) -> PublishResult {
        self.first_attempt().await;
        if let Some(reason) = self.unavailable() {
            return PublishResult::NotNow(reason);
        }
        let (answer, answered) = oneshot::channel();
        if self.sender.send(PendingPublish { message, suspect: false, ended: 0, answer }).await.is_err() {
            return PublishResult::NotNow("the publisher has stopped".into());
        }
        // Counted: a message over which the publisher panics must not come again forever.
        answered.await.unwrap_or_else(|_| {
            PublishResult::Failed(NotDelivered::Timeout, "the publisher was interrupted".into())
        })
    }

    /// A process that ends right after its first call delivers that, too: it waits for the connection, but not for a broker
    /// that does not answer.
    async fn first_attempt(&self) {
        if *self.status.borrow() == BrokerStatus::Connecting {
            let mut status = self.watch();
            let _ =
                timeout(FIRST_ATTEMPT, status.wait_for(|status| *status != BrokerStatus::Connecting)).await;
        }
    }

    /// Notes whether there is a broker to publish to.
    pub(super) fn is(&self, status: BrokerStatus) {
        let one_if = |holds| if holds { 1.0 } else { 0.0 };
        BROKER_UP.get().set(one_if(matches!(status, BrokerStatus::Up | BrokerStatus::Blocked(_))));
        BROKER_BLOCKED.get().set(one_if(matches!(status, BrokerStatus::Blocked(_))));
        self.status.send_replace(status);
    }

    pub(super) fn watch(&self) -> watch::Receiver<BrokerStatus> {
        self.status.subscribe()
    }

    pub(super) fn capacity(&self) -> usize {
        if self.unavailable().is_some() { 0 } else { self.sender.capacity() }
    }

    fn unavailable(&self) -> Option<String> {
        match &*self.status.borrow() {
            BrokerStatus::Up => None,
            BrokerStatus::Connecting => Some(format!("not yet connected to RabbitMQ at {}", self.broker)),
            BrokerStatus::Away(why) => Some(format!("no connection to RabbitMQ at {}: {why}", self.broker)),
            BrokerStatus::Blocked(why) => {
                Some(format!("RabbitMQ at {} takes no messages now: {why}", self.broker))
            }
        }
    }

    /// The next messages to publish together: suspects one by one, before all others. Cancel safe.
    pub(super) async fn next_batch(&self) -> Vec<PendingPublish> {
        loop {
            if let Some(suspect) = self.suspects().pop_front() {
                return vec![suspect];
            }
            tokio::select! {
                () = self.suspected.notified() => {}
                batch = self.next_waiting() => return batch,
            }
        }
    }

    async fn next_waiting(&self) -> Vec<PendingPublish> {
        let mut waiting = self.waiting.lock().await;
        let Some(first) = waiting.recv().await else { return pending().await };
        let mut bytes = first.message.body.bytes().len();
        let mut batch = vec![first];
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            let Ok(next) = waiting.try_recv() else { break };
            bytes += next.message.body.bytes().len();
            batch.push(next);
        }
        batch
    }

    /// Takes back a batch that failed as a whole.
    pub(super) fn suspect(&self, batch: Vec<PendingPublish>) {
        let suspects = batch.into_iter().map(|pending| PendingPublish { suspect: true, ..pending });
        self.suspects().extend(suspects);
        self.suspected.notify_one();
    }

    /// Answers everything with "not now", until it is dropped.
    pub(super) async fn put_off(&self) {
        let mut waiting = self.waiting.lock().await;
        while let Some(job) = waiting.recv().await {
            let why = self.unavailable().unwrap_or_else(|| "no connection to RabbitMQ".into());
            job.answer(PublishResult::NotNow(why));
        }
        pending::<()>().await;
    }

    pub(super) fn put_off_suspects(&self, why: &str) {
        let suspects = std::mem::take(&mut *self.suspects());
        for suspect in suspects {
            suspect.answer(PublishResult::NotNow(format!("the connection to RabbitMQ was lost: {why}")));
        }
    }

    fn suspects(&self) -> MutexGuard<'_, VecDeque<PendingPublish>> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
