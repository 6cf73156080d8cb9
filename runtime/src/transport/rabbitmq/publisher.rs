//! The publisher: takes letters, keeps a connection to the broker, and has owners publish them.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use lapin::Connection;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::broker::Broker;
use super::connection::{Connected, Tries, Trouble, close, connect, set_up, until_lost};
use super::owner::Owner;
use super::properties::{FRAME_BYTES, Letter};
use super::topology::{Queues, Topology};
use crate::transport::Publication;

const PURPOSE: &str = "publishing";
/// Channels of the connection; each has an owner. Two, so that one window is on its way while the
/// other is being confirmed.
const CHANNELS: usize = 2;
/// Messages in one window: lapin's bookkeeping is quadratic in it.
const WINDOW: usize = 256;
/// Bytes of bodies after which a window is closed. lapin keeps a copy of each until it is sent.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// A letter, and who waits for its fate.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) letter: Letter,
    answer: oneshot::Sender<Publication>,
}

impl Job {
    pub(super) fn answer(self, publication: Publication) {
        // Nobody listens any more when the caller has left.
        let _ = self.answer.send(publication);
    }
}

/// Whether there is a broker to publish to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Up,
    /// With the reason.
    Away(String),
    /// Connected, but the broker takes nothing now.
    Blocked(String),
}

#[derive(Debug)]
pub(super) struct Publisher {
    broker: Broker,
    topology: Topology,
    /// How long a window may take.
    pub(super) patience: Duration,
    jobs: mpsc::Sender<Job>,
    waiting: AsyncMutex<mpsc::Receiver<Job>>,
    /// Messages of a window that failed as a whole: one of them may be why. Published one by one, so
    /// that only that one is blamed.
    suspects: Mutex<VecDeque<Job>>,
    pub(super) standing: watch::Sender<Standing>,
    /// The size of frames that the last connection agreed on with the broker.
    frame_bytes: AtomicU32,
}

impl Publisher {
    pub(super) fn new(broker: Broker, topology: Topology, patience: Duration) -> Self {
        let (jobs, waiting) = mpsc::channel(CHANNELS * WINDOW);
        let standing = watch::Sender::new(Standing::Away("not connected yet".into()));
        let (waiting, suspects) = (AsyncMutex::new(waiting), Mutex::default());
        let frame_bytes = AtomicU32::new(FRAME_BYTES);
        Self { broker, topology, patience, jobs, waiting, suspects, standing, frame_bytes }
    }

    /// How large the frames of a connection are.
    pub(super) fn frame_bytes(&self) -> u32 {
        self.frame_bytes.load(Ordering::Relaxed)
    }

    /// Publishes a letter, and waits until its fate is known.
    pub(super) async fn publish(&self, letter: Letter) -> Publication {
        if let Some(reason) = self.unavailable() {
            return Publication::NotNow(reason);
        }
        let (answer, answered) = oneshot::channel();
        if self.jobs.send(Job { letter, answer }).await.is_err() {
            return Publication::NotNow("the publisher has stopped".into());
        }
        // Counted: a message over which the publisher panics must not come again for ever.
        answered.await.unwrap_or_else(|_| Publication::Failed("the publisher was interrupted".into()))
    }

    pub(super) fn capacity(&self) -> usize {
        if self.unavailable().is_some() { 0 } else { self.jobs.capacity() }
    }

    fn unavailable(&self) -> Option<String> {
        match &*self.standing.borrow() {
            Standing::Up => None,
            Standing::Away(why) => Some(format!("no connection to RabbitMQ at {}: {why}", self.broker)),
            Standing::Blocked(why) => {
                Some(format!("RabbitMQ at {} takes no messages now: {why}", self.broker))
            }
        }
    }

    /// Keeps a connection until `stop`. Nothing is published before there are the queues of this process's own
    /// consumers, except those that a person has to see to: what the broker gives to others alone would never
    /// come here.
    pub(super) async fn run(&self, own: &[Arc<Queues>], stop: &CancellationToken) {
        let mut tries = Tries::default();
        // After a panic it would still say otherwise.
        self.standing.send_replace(Standing::Away("not connected yet".into()));
        while !stop.is_cancelled() {
            let trouble = tokio::select! {
                connected = self.connect(own) => match connected {
                    Ok(connected) => {
                        tries.succeeded(&self.broker, PURPOSE);
                        self.serve(connected, stop).await
                    }
                    Err(trouble) => {
                        // They were worth the wait for one more connection, not for an outage.
                        self.put_off_suspects(&trouble.why);
                        trouble
                    }
                },
                () = self.put_off() => continue,
                () = stop.cancelled() => break,
            };
            if stop.is_cancelled() {
                break;
            }
            self.standing.send_replace(Standing::Away(trouble.why.clone()));
            let pause = tries.failed(&self.broker, PURPOSE, &trouble);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.put_off() => {}
                () = stop.cancelled() => {}
            }
        }
        self.standing.send_replace(Standing::Away("the messenger is stopping".into()));
        self.put_off_suspects("the messenger is stopping");
    }

    async fn connect(&self, own: &[Arc<Queues>]) -> Result<Connected, Trouble> {
        let Connected { connection, mut events } = connect(&self.broker, PURPOSE).await?;
        self.frame_bytes.store(connection.configuration().frame_max(), Ordering::Relaxed);
        for wrong in set_up(&connection, &mut events, self.establish(&connection, own)).await? {
            tracing::error!(broker = %self.broker, why = wrong.why, "RabbitMQ: an exchange is not as it should be");
        }
        Ok(Connected { connection, events })
    }

    /// Sees to exchanges and queues. Says which exchanges are not as they should be.
    async fn establish(&self, connection: &Connection, own: &[Arc<Queues>]) -> Result<Vec<Trouble>, Trouble> {
        let wrong = self.topology.establish(connection).await?;
        for queues in own {
            match self.topology.establish_queues(connection, queues).await {
                // The consumer's to tell; until somebody sees to it, it keeps no other message back.
                Err(trouble) if trouble.needs_a_person => {
                    tracing::debug!(broker = %self.broker, why = trouble.why, "RabbitMQ: a queue could not be set up");
                    continue;
                }
                done => done?,
            }
            self.topology.bind(connection, &queues.main, &queues.bindings).await?;
        }
        Ok(wrong)
    }

    /// Lets owners publish until the connection is lost, or `stop`.
    async fn serve(&self, connected: Connected, stop: &CancellationToken) -> Trouble {
        let Connected { connection, mut events } = connected;
        let lost = CancellationToken::new();
        self.standing.send_replace(Standing::Up);
        let blocked = |why: Option<String>| {
            let broker = &self.broker;
            if let Some(why) = &why {
                tracing::warn!(%broker, why, "RabbitMQ: takes no messages now");
            } else {
                tracing::info!(%broker, "RabbitMQ: takes messages again");
            }
            self.standing.send_replace(why.map_or(Standing::Up, Standing::Blocked));
        };
        let watching = async {
            let trouble = tokio::select! {
                trouble = until_lost(&connection, &mut events, blocked) => Some(trouble),
                () = stop.cancelled() => None,
                () = lost.cancelled() => None,
            };
            lost.cancel();
            trouble
        };
        let owners = join_all((0..CHANNELS).map(|_| async {
            let trouble = Owner::new(self, &connection, &lost).run().await;
            // If one of them is in trouble with the connection, all are.
            lost.cancel();
            trouble
        }));
        let (seen, met) = tokio::join!(watching, owners);
        close(connection).await;
        let met = met.into_iter().flatten().next();
        met.or(seen).unwrap_or_else(|| Trouble::passing("the connection was closed"))
    }

    /// The next messages to publish together: suspects one by one, before all others.
    pub(super) async fn next_window(&self) -> Vec<Job> {
        if let Some(suspect) = self.suspects().pop_front() {
            return vec![suspect];
        }
        let mut waiting = self.waiting.lock().await;
        let Some(first) = waiting.recv().await else { return pending().await };
        let mut bytes = first.letter.body.bytes().len();
        let mut window = vec![first];
        while window.len() < WINDOW && bytes < WINDOW_BYTES {
            let Ok(next) = waiting.try_recv() else { break };
            bytes += next.letter.body.bytes().len();
            window.push(next);
        }
        window
    }

    /// Takes back a window that failed as a whole.
    pub(super) fn suspect(&self, window: Vec<Job>) {
        self.suspects().extend(window);
    }

    /// Puts off whatever comes in; never ends.
    async fn put_off(&self) {
        let mut waiting = self.waiting.lock().await;
        while let Some(job) = waiting.recv().await {
            let why = self.unavailable().unwrap_or_else(|| "no connection to RabbitMQ".into());
            job.answer(Publication::NotNow(why));
        }
        pending::<()>().await;
    }

    fn put_off_suspects(&self, why: &str) {
        let suspects = std::mem::take(&mut *self.suspects());
        for suspect in suspects {
            suspect.answer(Publication::NotNow(format!("the connection to RabbitMQ was lost: {why}")));
        }
    }

    fn suspects(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
