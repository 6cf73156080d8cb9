//! Runs annotated functions in tests, without a server and without background workers.
//!
//! ```standalone_crate
//! # use serde::Serialize;
//! # use transactional_message::{begin, transactional_message};
//! use transactional_message::testing::Recorder;
//! # #[derive(Serialize)]
//! # struct Paid { order: u32 }
//! # #[derive(Debug)]
//! # struct PayError;
//! # impl From<transactional_message::Error> for PayError { fn from(_: transactional_message::Error) -> Self { Self } }
//!
//! #[transactional_message(exchange = "payments", routing_key = "paid", fence, message = Paid { order })]
//! async fn pay(db: &sqlx::SqlitePool, order: u32) -> Result<(), PayError> {
//!     let tx = begin(db).await?;
//!     tx.commit().await?;
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let recorder = Recorder::new().await?;
//! recorder.scope(pay(recorder.pool(), 7)).await.expect("paid");
//! recorder.settle().await?;
//! recorder.assert_sent(&[("payments", "paid", serde_json::json!({ "order": 7 }))]);
//! # Ok(())
//! # }
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Pool, Sqlite};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::consumer::Received;
use crate::core::{Core, Inlets};
use crate::database::DatabaseSource;
use crate::error::Error;
use crate::message::MessageId;
use crate::message::state::MessageState;
use crate::messenger::{Messenger, MessengerBuilder};
use crate::protocol::Report;
use crate::sql::BusinessDatabase;
use crate::store::{Attempts, Postponement, StoreError};
use crate::transport::{Delivery, Outgoing, Publication, Queue, Transport};
use crate::worker::checker::Checker;
use crate::worker::relay::Relay;
use crate::worker::reporter::Reporter;

pub use crate::store::conformance::exercise;

/// The store's rounds in one [`Recorder::settle`]: far more than any call needs.
const ROUNDS: usize = 32;

/// A messenger for tests: records what is sent, and works only when told to.
#[derive(Debug)]
pub struct Recorder<DB: BusinessDatabase = Sqlite> {
    messenger: Messenger,
    pool: Pool<DB>,
    sent: Arc<Sent>,
    workers: tokio::sync::Mutex<Workers>,
}

/// A message that was sent.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SentMessage {
    /// The message's id.
    pub id: MessageId,
    /// Where it was sent.
    pub exchange: String,
    /// Where it was sent.
    pub routing_key: String,
    /// The business key.
    pub key: Option<String>,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body as JSON.
    pub payload: Value,
}

#[derive(Debug)]
struct Workers {
    reporter: Reporter,
    checker: Checker,
    relay: Relay,
}

impl Recorder<Sqlite> {
    /// A recorder with an in-memory SQLite database of its own, which is also the business
    /// database, under every name that a `fence = ".."` may give it: see [`pool`](Self::pool).
    ///
    /// # Errors
    /// When the messenger can't be built: a check-back handler lacks its `Data<T>`, for example.
    pub async fn new() -> Result<Self, Error> {
        Self::with(|builder| builder).await
    }

    /// The same, with a say in how the messenger is built: data, handlers, settings.
    ///
    /// # Errors
    /// When the messenger can't be built.
    pub async fn with(configure: impl FnOnce(MessengerBuilder) -> MessengerBuilder) -> Result<Self, Error> {
        // The `memdb` file system shares a database between connections of one process, with
        // ordinary locks, as long as one of them is open.
        let options = SqliteConnectOptions::new()
            .filename(format!("/{}", Uuid::new_v4()))
            .vfs("memdb")
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new()
            .min_connections(1)
            .max_connections(4)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await
            .map_err(|cause| {
                StoreError::from(cause).into_error("the in-memory database could not be opened")
            })?;
        Self::on_with(&pool, configure).await
    }
}

impl<DB: BusinessDatabase> Recorder<DB> {
    /// A recorder on the test's own database, which gets the messenger's tables.
    ///
    /// # Errors
    /// When the messenger can't be built.
    pub async fn on(pool: &Pool<DB>) -> Result<Self, Error>
    where
        for<'p> DatabaseSource: From<&'p Pool<DB>>,
    {
        Self::on_with(pool, |builder| builder).await
    }

    /// The same, with a say in how the messenger is built.
    ///
    /// # Errors
    /// When the messenger can't be built.
    pub async fn on_with(
        pool: &Pool<DB>,
        configure: impl FnOnce(MessengerBuilder) -> MessengerBuilder,
    ) -> Result<Self, Error>
    where
        for<'p> DatabaseSource: From<&'p Pool<DB>>,
    {
        let sent = Arc::new(Sent::default());
        let builder = Messenger::builder(DatabaseSource::from(pool)).fence("test", pool).any_fence_name();
        let transport = Arc::clone(&sent) as Arc<dyn Transport>;
        let messenger = configure(builder).build_with(transport).await?;
        messenger.migrate().await?;
        let Inlets { reports, questions, outgoing } = messenger.prepare().await?;
        let workers = Workers {
            reporter: Reporter::new(messenger.core(), reports),
            checker: Checker::new(messenger.core(), questions),
            relay: Relay::new(messenger.core(), outgoing),
        };
        Ok(Self { pool: pool.clone(), sent, workers: tokio::sync::Mutex::new(workers), messenger })
    }

    /// The business database.
    pub const fn pool(&self) -> &Pool<DB> {
        &self.pool
    }

    /// The messenger, for its operator verbs and statistics.
    pub const fn messenger(&self) -> &Messenger {
        &self.messenger
    }

    /// Runs annotated functions with this recorder as their messenger.
    pub async fn scope<F: Future>(&self, future: F) -> F::Output {
        self.messenger.scope(future).await
    }

    /// From now on, reports of how calls ended are lost, as if the process had died at that
    /// moment: [`settle`](Self::settle) has to find out. `false` ends it.
    pub fn lose_reports(&self, lose: bool) {
        self.messenger.core().lost_reports.lose.store(lose, Ordering::SeqCst);
    }

    /// Does everything that the background workers would do, waits included, until nothing moves any
    /// more: brings reports to the store, asks about halves that nobody reported, and delivers what
    /// is confirmed. A handler that answers `Unknown` may be asked more than once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settle(&self) -> Result<(), Error> {
        self.work().await.map_err(|cause| cause.into_error("the messages could not be settled"))
    }

    async fn work(&self) -> Result<(), StoreError> {
        let core = self.messenger.core();
        let mut workers = self.workers.lock().await;
        workers.reporter.run_once().await;
        core.lost_reports.release(core).await?;
        for _ in 0..ROUNDS {
            let before = core.store.stats().await?;
            for state in [MessageState::Half, MessageState::Confirmed] {
                for message in core.store.list(state, None, 10_000).await? {
                    core.store.hasten(message.id).await?;
                }
            }
            workers.checker.run_once().await?;
            workers.relay.run_once().await?;
            let mut after = core.store.stats().await?;
            after.oldest_unfinished = before.oldest_unfinished;
            if after == before {
                break;
            }
        }
        Ok(())
    }

    /// What was sent so far, in order.
    pub fn sent(&self) -> Vec<SentMessage> {
        self.sent.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Compares what was sent so far with `expected`: exchange, routing key, and body as JSON. What
    /// was parked, by a function that forgot `begin` for example, is in the log and in
    /// [`Messenger::list`].
    ///
    /// # Panics
    /// When it is not the same; the two lists are in the message.
    #[track_caller]
    pub fn assert_sent(&self, expected: &[(&str, &str, Value)]) {
        let sent: Vec<(String, String, Value)> =
            self.sent().into_iter().map(|one| (one.exchange, one.routing_key, one.payload)).collect();
        let expected: Vec<(String, String, Value)> = expected
            .iter()
            .map(|(exchange, key, body)| ((*exchange).into(), (*key).into(), body.clone()))
            .collect();
        assert_eq!(sent, expected, "sent (left) is not what was expected (right)");
    }
}

/// A message as a consumer's handler gets it, to test the handler by itself.
pub fn received<T>(payload: T) -> Received<T> {
    Received {
        id: Uuid::now_v7(),
        exchange: String::new(),
        routing_key: String::new(),
        message_type: None,
        key: None,
        headers: Vec::new(),
        attempt: 1,
        payload,
    }
}

/// A transport that takes everything, and remembers it.
#[derive(Debug, Default)]
struct Sent {
    messages: Mutex<Vec<SentMessage>>,
}

#[async_trait]
impl Transport for Sent {
    async fn publish(&self, outgoing: &Outgoing) -> Publication {
        let message = &outgoing.half.message;
        let text = || Value::String(String::from_utf8_lossy(&message.payload).into_owned());
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(SentMessage {
            id: outgoing.half.id,
            exchange: message.exchange.clone(),
            routing_key: message.routing_key.clone(),
            key: message.key.clone(),
            headers: message.headers.clone(),
            payload: serde_json::from_slice(&message.payload).unwrap_or_else(|_| text()),
        });
        Publication::Acknowledged
    }

    fn capacity(&self) -> usize {
        usize::MAX
    }

    // A recorder runs no consumers.
    fn subscribe(&self, _queue: Queue) -> Result<mpsc::Receiver<Delivery>, Error> {
        Ok(mpsc::channel(1).1)
    }
}

/// Reports that were swallowed on demand.
#[derive(Debug, Default)]
pub(crate) struct LostReports {
    lose: AtomicBool,
    ids: Mutex<Vec<MessageId>>,
}

impl LostReports {
    pub(crate) fn swallow(&self, report: &Report) -> bool {
        let lose = self.lose.load(Ordering::SeqCst);
        if lose {
            self.ids.lock().unwrap_or_else(PoisonError::into_inner).extend(report.call.ids());
        }
        lose
    }

    /// What a lapsed lease would do: the rows are anybody's.
    async fn release(&self, core: &Core) -> Result<(), StoreError> {
        let ids = std::mem::take(&mut *self.ids.lock().unwrap_or_else(PoisonError::into_inner));
        core.leases.let_go(&ids);
        let release = |id| Postponement {
            id,
            held_by: core.leases.token(),
            after: Duration::ZERO,
            attempts: Attempts::Keep,
            reason: None,
        };
        core.store.give_back(&ids.into_iter().map(release).collect::<Vec<_>>()).await
    }
}
