//! Delivery within the process: the embedded default.
//!
//! A message goes to every queue with a matching binding, and is acknowledged when each of them
//! has handled it. Nothing is kept here: a message that fails stays in the store, and comes again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::topic::Pattern;
use crate::error::{Error, ErrorKind};
use crate::fault;
use crate::message::{Half, MessageId};
use crate::settings::Settings;
use crate::telemetry::labels::{Buried, NotDelivered};
use crate::transport::{Delivery, Disposition, Outgoing, Paused, PublishResult, Queue, Transport};

/// How many deliveries a queue takes at once. More stay in the store, and keep no other queue's
/// messages from being delivered.
const QUEUE_LENGTH: usize = 64;
/// Another process may have taken some of them since.
const MOST_SUSPECTS: usize = 10_000;
/// As long as a message is no older, it is news that it can't be read.
const NEW: Duration = Duration::from_secs(5);

/// Exchanges and queues of one process.
#[derive(Debug)]
pub(crate) struct InProcess {
    queues: Mutex<Vec<Subscriber>>,
    /// After how many attempts the store gives a message up.
    attempts: u32,
    /// Whether anything is delivered.
    deliver: bool,
    /// Suspects that could not be tried: they go back to the store, which does not remember that they are.
    suspects: Mutex<HashSet<MessageId>>,
}

#[derive(Clone, Debug)]
struct Subscriber {
    name: String,
    bindings: Vec<(String, Pattern)>,
    deliveries: mpsc::Sender<Delivery>,
    /// One for each delivery that is not settled yet.
    permits: Arc<Semaphore>,
    /// How old a message may be that nobody can read, before it is dead.
    undecodable_after: Duration,
    /// A person wants no more to be taken.
    paused: watch::Receiver<Option<Paused>>,
}

impl InProcess {
    pub(crate) fn new(settings: &Settings) -> Self {
        let Settings { delivery_attempts: attempts, deliver, .. } = *settings;
        Self { queues: Mutex::default(), attempts, deliver, suspects: Mutex::default() }
    }

    fn route(&self, exchange: &str, routing_key: &str) -> Vec<Subscriber> {
        let bound = |queue: &&Subscriber| {
            queue.bindings.iter().any(|(name, pattern)| name == exchange && pattern.matches(routing_key))
        };
        self.queues().iter().filter(bound).cloned().collect()
    }

    fn is_suspect(&self, outgoing: &Outgoing) -> bool {
        let waits = || lock(&self.suspects).contains(&outgoing.half.id);
        (outgoing.suspect || waits()) && !fault::bug("never-suspected")
    }

    /// Remembers a suspect that could not be tried, or forgets it.
    fn note(&self, id: MessageId, suspect: bool) {
        let mut suspects = lock(&self.suspects);
        if suspect && suspects.len() < MOST_SUSPECTS {
            suspects.insert(id);
        } else {
            suspects.remove(&id);
        }
    }

    fn queues(&self) -> MutexGuard<'_, Vec<Subscriber>> {
        lock(&self.queues)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Transport for InProcess {
    fn kind(&self) -> &'static str {
        "in_process"
    }

    fn exchanges(&self) -> Vec<String> {
        let bindings = |queue: &Subscriber| queue.bindings.clone();
        self.queues().iter().flat_map(bindings).map(|(exchange, _)| exchange).collect()
    }

    async fn publish(&self, outgoing: &Outgoing) -> PublishResult {
        let message = &outgoing.half.message;
        let queues = self.route(&message.exchange, &message.routing_key);
        if queues.is_empty() {
            return PublishResult::Unroutable(format!(
                "no consumer in this process is bound to exchange `{}` with a pattern for `{}`",
                message.exchange, message.routing_key
            ));
        }
        if let Some(paused) = queues.iter().find_map(Subscriber::paused) {
            return paused;
        }
        let suspect = self.is_suspect(outgoing);
        let handled = join_all(queues.iter().map(|queue| queue.deliver(outgoing, suspect))).await;
        // As long as one queue may still take it, the message is not given up; and nobody waits because of another one's
        // handler.
        let published =
            handled.into_iter().fold(PublishResult::Acknowledged, |sum, handled| match (sum, handled) {
                (PublishResult::Failed(_, why), _) | (_, Disposition::Failed(why)) => {
                    PublishResult::Failed(NotDelivered::Handler, why)
                }
                (PublishResult::NotNow(why), _) | (_, Disposition::NotNow(why)) => PublishResult::NotNow(why),
                (PublishResult::NotHere(why), _) | (_, Disposition::Undecodable(why)) => {
                    PublishResult::NotHere(why)
                }
                (PublishResult::FailedFor(pause, why), Disposition::FailedFor(other, _)) => {
                    PublishResult::FailedFor(pause.min(other), why)
                }
                (PublishResult::FailedFor(pause, why), _) | (_, Disposition::FailedFor(pause, why)) => {
                    PublishResult::FailedFor(pause, why)
                }
                (PublishResult::Refused(_, why), _) | (_, Disposition::Rejected(_, why)) => {
                    PublishResult::Refused(NotDelivered::Handler, why)
                }
                (sum, Disposition::Done) => sum,
            });
        self.note(outgoing.half.id, suspect && matches!(published, PublishResult::NotNow(_)));
        published
    }

    /// The store counts, too.
    fn budget(&self, attempts: u32) -> u32 {
        attempts.min(self.attempts)
    }

    fn capacity(&self) -> usize {
        self.queues().iter().map(|queue| queue.permits.available_permits()).max().unwrap_or(QUEUE_LENGTH)
    }

    fn most_in_hand(&self) -> usize {
        QUEUE_LENGTH
    }

    fn subscribe(&self, queue: Queue) -> Result<mpsc::Receiver<Delivery>, Error> {
        if !self.deliver {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!(
                    "the consumer `{}` would get nothing: the setting `deliver` is false, and delivery is within the process",
                    queue.name
                ),
            ));
        }
        let (deliveries, receiver) = mpsc::channel(QUEUE_LENGTH);
        let pattern = |(exchange, pattern): (String, String)| (exchange, Pattern::new(&pattern));
        let Queue { name, bindings, undecodable_after, paused, .. } = queue;
        let bindings = bindings.into_iter().map(pattern).collect();
        let permits = Arc::new(Semaphore::new(QUEUE_LENGTH));
        self.queues().push(Subscriber { name, bindings, deliveries, permits, undecodable_after, paused });
        Ok(receiver)
    }
}

impl Subscriber {
    /// What becomes of its messages during a pause: also of those that are for other queues, too.
    fn paused(&self) -> Option<PublishResult> {
        let paused = self.paused.borrow();
        let paused = paused.as_ref()?;
        Some(PublishResult::Paused(paused.lasts()?, paused.reason.clone()))
    }

    async fn deliver(&self, outgoing: &Outgoing, suspect: bool) -> Disposition {
        let Ok(_permit) = self.permits.try_acquire() else {
            return Disposition::NotNow(format!("the queue `{}` is full", self.name));
        };
        let (settle, settled) = oneshot::channel();
        let Outgoing { half, attempt, .. } = outgoing;
        let delivery =
            Delivery { id: half.id, message: half.message.clone(), attempt: *attempt, suspect, settle };
        // Whether the consumer is away or at work, it is the consumer who says how this ends, and when at the latest.
        let _ = self.deliveries.send(delivery).await;
        let handled = fault::pending("published", settled).await;
        match handled {
            Ok(Disposition::Undecodable(why)) => self.undecodable(half, why),
            Ok(handled) => handled,
            Err(_) => Disposition::NotNow(format!("the consumer of `{}` has stopped", self.name)),
        }
    }

    /// Perhaps another process can read it. Nothing but the message itself says since when nobody could.
    fn undecodable(&self, half: &Half, why: String) -> Disposition {
        let (queue, patience, age, id) = (&self.name, self.undecodable_after, half.age(), half.id);
        if age < patience {
            if age < NEW {
                tracing::warn!(queue, %id, why, ?patience,
                    "this process can't read a message; it waits for one that can, and is dead if there is none");
            } else {
                tracing::debug!(queue, %id, why, "still nobody can read a message");
            }
            return Disposition::Undecodable(why);
        }
        let for_so_long =
            if patience.is_zero() { String::new() } else { format!("; nobody could for {patience:?}") };
        Disposition::Rejected(Buried::Undecodable, format!("{why}{for_so_long}"))
    }
}
