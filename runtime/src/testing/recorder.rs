//! A messenger for tests, which works only when told to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Pool, Sqlite};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;
use uuid::Uuid;

use crate::broker::topic::Pattern;
use crate::call::live::Report;
use crate::consumer::{Consumer, Received};
use crate::database::DatabaseSource;
use crate::error::Error;
use crate::held::HeldStore;
use crate::message::state::MessageState;
use crate::message::{Half, Message, MessageId};
use crate::messenger::{Messenger, MessengerBuilder, Workers};
use crate::sql::BusinessDatabase;
use crate::store::{Action, Actor, Decision, Entry, StoreError};
use crate::transport::{Delivery, Disposition, Outgoing, PublishResult, Queue, Transport};

/// The store's rounds in one [`Recorder::settle`]: far more than any call needs.
const ROUNDS: usize = 32;

/// A messenger for tests: records what is sent, and works only when told to.
#[derive(Debug)]
pub struct Recorder<DB: BusinessDatabase = Sqlite> {
    messenger: Messenger,
    pool: Pool<DB>,
    sent: Arc<Sent>,
    held: HeldStore,
    reports: Mutex<Reports>,
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
    pub business_key: Option<String>,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// Not before when it was to be delivered. [`Recorder::settle`] does not wait for that.
    pub deliver_at: Option<SystemTime>,
    /// The body as JSON.
    pub payload: Value,
}

/// What became of a message that was handed to a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Handled {
    /// It has had its effect, now or before.
    Done,
    /// It would be tried again: not before this time is over, if the handler has said so.
    Again(Option<Duration>, String),
    /// It would be dead.
    Dead(String),
}

/// The reports of calls, on their way to the reporter, or lost on it.
#[derive(Debug)]
struct Reports {
    from_calls: UnboundedReceiver<Report>,
    to_reporter: UnboundedSender<Report>,
    lose: bool,
    lost: Vec<MessageId>,
}

impl Reports {
    /// Passes on what was reported so far, or loses it.
    fn pass_on(&mut self) {
        while let Ok(report) = self.from_calls.try_recv() {
            if self.lose {
                self.lost.extend(report.call.ids());
            } else {
                // The reporter lives as long as the recorder does.
                let _ = self.to_reporter.send(report);
            }
        }
    }
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
        let (messenger, mut workers) = configure(builder).prepare_with(transport).await?;
        let (from_calls, to_reporter) = workers.reporter.intercept();
        let reports = Reports { from_calls, to_reporter, lose: false, lost: Vec::new() };
        let held = messenger.held().clone();
        Ok(Self {
            messenger,
            pool: pool.clone(),
            sent,
            held,
            reports: Mutex::new(reports),
            workers: tokio::sync::Mutex::new(workers),
        })
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
        let mut reports = self.reports();
        // What ended before is reported, or lost, as it was then.
        reports.pass_on();
        reports.lose = lose;
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
        let store = self.held.store();
        let mut workers = self.workers.lock().await;
        self.reports().pass_on();
        workers.reporter.run_once().await;
        let lost = std::mem::take(&mut self.reports().lost);
        // What a lapsed lease would do: the rows are anybody's.
        self.held.let_go(lost.iter().copied());
        store.give_back(&lost.into_iter().map(|id| self.held.release(id)).collect::<Vec<_>>()).await?;
        for _ in 0..ROUNDS {
            let before = store.stats().await?;
            for state in [MessageState::Half, MessageState::Confirmed] {
                for message in store.list(state, None, 10_000).await? {
                    if let (MessageState::Confirmed, Some(time)) = (state, message.deliver_at) {
                        self.sent.times().entry(message.id).or_insert(time);
                    }
                    store.decide(&now(message.id)).await?;
                }
            }
            workers.checker.run_once().await?;
            workers.relay.run_once().await?;
            let mut after = store.stats().await?;
            after.oldest_unfinished = before.oldest_unfinished;
            if after == before {
                break;
            }
        }
        Ok(())
    }

    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was sent so far, in order.
    pub fn sent(&self) -> Vec<SentMessage> {
        self.sent.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Hands what was sent so far to a consumer's handler, without a broker: what its bindings match, in order, each as at
    /// its first delivery, and in a transaction with the inbox. What it has had before is recognised. The handler takes the
    /// data that this recorder's messenger was built with.
    ///
    /// # Errors
    /// When the consumer's database fails, or the handler takes data that is not there.
    pub async fn deliver(&self, consumer: &Consumer) -> Result<Vec<Handled>, Error> {
        let data = self.messenger.data();
        consumer.validate(data)?;
        let Queue { bindings, undecodable_after, .. } =
            consumer.wanted(watch::channel(1).1, watch::channel(None).1);
        let is_bound = |half: &Arc<Half>| {
            let Message { exchange, routing_key, .. } = &half.message;
            let matches = |(name, pattern): &(String, String)| {
                name == exchange && Pattern::new(pattern).matches(routing_key)
            };
            bindings.iter().any(matches)
        };
        let mut halves = self.sent.halves.lock().unwrap_or_else(PoisonError::into_inner).clone();
        halves.retain(is_bound);
        let handled = consumer.handle(halves, data).await;
        let handled = handled.map_err(|cause| cause.into_error("the inbox could not be set up"))?;
        let became = |handled| match handled {
            Disposition::Done => Handled::Done,
            Disposition::FailedFor(pause, why) => Handled::Again(Some(pause), why),
            Disposition::Undecodable(why) if undecodable_after.is_zero() => Handled::Dead(why),
            Disposition::Failed(why) | Disposition::NotNow(why) | Disposition::Undecodable(why) => {
                Handled::Again(None, why)
            }
            Disposition::Rejected(_, why) => Handled::Dead(why),
        };
        Ok(handled.into_iter().map(became).collect())
    }

    /// Compares what was sent so far with `expected`: exchange, routing key, and body as JSON. What
    /// was parked, by a function that forgot `begin` for example, is in the log and in
    /// [`Admin::list`](crate::Admin::list).
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
    Received::of(payload)
}

/// A transport that takes everything, and remembers it.
#[derive(Debug, Default)]
struct Sent {
    messages: Mutex<Vec<SentMessage>>,
    halves: Mutex<Vec<Arc<Half>>>,
    /// When what has a delay would have been delivered.
    times: Mutex<HashMap<MessageId, SystemTime>>,
}

impl Sent {
    fn times(&self) -> MutexGuard<'_, HashMap<MessageId, SystemTime>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Transport for Sent {
    fn kind(&self) -> &'static str {
        "recorder"
    }

    async fn publish(&self, outgoing: &Outgoing) -> PublishResult {
        let message = &outgoing.half.message;
        self.halves.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&outgoing.half));
        let text = || Value::String(String::from_utf8_lossy(&message.payload).into_owned());
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(SentMessage {
            id: outgoing.half.id,
            exchange: message.exchange.clone(),
            routing_key: message.routing_key.clone(),
            business_key: message.business_key.clone(),
            headers: message.headers.clone(),
            deliver_at: self.times().get(&outgoing.half.id).copied(),
            payload: serde_json::from_slice(&message.payload).unwrap_or_else(|_| text()),
        });
        PublishResult::Acknowledged
    }

    fn capacity(&self) -> usize {
        usize::MAX
    }

    // A recorder runs no consumers.
    fn subscribe(&self, _queue: Queue) -> Result<mpsc::Receiver<Delivery>, Error> {
        Ok(mpsc::channel(1).1)
    }
}

/// Whatever waits is tried now.
fn now(id: MessageId) -> Decision {
    let entry = Entry::new(Actor::new("recorder", "testing"), "settled", None);
    Decision { id, action: Action::Retry, payload: None, entry }
}
