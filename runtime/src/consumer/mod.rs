//! The consumer: a queue, its bindings, and a handler whose effect happens once per message.

mod batch;
mod failure;
mod handler;
mod inbox;
mod suspects;
mod together;
mod trouble;
mod work;
mod worker;

use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Duration;

use sqlx::Pool;
use tokio::sync::watch;

pub use batch::ConsumeBatch;
use batch::{OneByOne, Together};
pub use failure::{Reject, RetryAfter};
pub use handler::{Consume, Received};
use inbox::{Inbox, Limits, SqlInbox};
pub(crate) use worker::ConsumerLoop;

use crate::check_back::{DataMap, Decode};
use crate::error::{Error, ErrorKind};
#[cfg(feature = "testing")]
use crate::message::Half;
use crate::message::limits::SHORT_STRING_BYTES;
use crate::sql::{BusinessDatabase, TablePlace, TablePrefix};
use crate::store::StoreError;
use crate::telemetry::context::TraceContinuation;
#[cfg(feature = "testing")]
use crate::transport::Disposition;
use crate::transport::{Foreign, Identify, Paused, Queue};
#[cfg(feature = "testing")]
use crate::worker::alone::Alone;

/// Why a consumer is refused that could handle nothing.
pub(crate) const NO_CONCURRENCY: &str = "`concurrency` must be at least 1";
/// The default pauses between attempts, in seconds.
const RETRY_DELAYS: [u64; 4] = [1, 5, 25, 120];
const MOST_PAUSES: usize = 16;
const MOST_TOGETHER: usize = 1000;
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_hours(24);
/// RabbitMQ takes a message away that was held for half an hour, and a suspect waits while others run.
const LONGEST_HANDLING: Duration = Duration::from_mins(10);
/// Longer than a rolling deployment takes.
const UNDECODABLE_AFTER: Duration = Duration::from_hours(1);

/// A queue and the handler of its messages.
///
/// The handler runs in a transaction whose first statement records the message in the *inbox*, so
/// that its effect happens once per message, however often the message is delivered. It may take the application's
/// [`Data`](crate::Data), like a check-back handler. A handler
/// that fails is asked again with growing pauses, or as its error says ([`Reject`], [`RetryAfter`]), up to [`max_attempts`](Self::max_attempts). After that,
/// and when nobody could decode its body for [some time](Self::undecodable_after), the message is
/// dead, with the reason, and waits for an operator.
///
/// Within the process, a message waits in the message store for its next attempt, and is dead there.
/// With RabbitMQ it waits in the queues `<queue>.retry.<delay>`, and the dead are in `<queue>.dead`.
///
/// ```no_run
/// # use serde::Deserialize;
/// use sqlx::{SqliteConnection, SqlitePool};
/// use transactional_message::{Consumer, Received};
///
/// #[derive(Deserialize)]
/// struct PaymentCompleted { order_id: String }
///
/// async fn book(tx: &mut SqliteConnection, message: Received<PaymentCompleted>) -> Result<(), sqlx::Error> {
///     sqlx::query("INSERT INTO vouchers (order_id) VALUES (?)")
///         .bind(&message.payload.order_id)
///         .execute(tx)
///         .await?;
///     Ok(())
/// }
///
/// # fn f(pool: SqlitePool) {
/// let accounting = Consumer::new("accounting", pool, book).bind("payments", "payment.completed");
/// # }
/// ```
#[derive(Clone)]
pub struct Consumer {
    queue: String,
    bindings: Vec<(String, String)>,
    max_attempts: u32,
    concurrency: usize,
    /// How many messages are handled together, at most.
    batch: usize,
    retry_delays: Vec<Duration>,
    undecodable_after: Duration,
    limits: Limits,
    continuation: TraceContinuation,
    place: TablePlace,
    identify: Option<Identify>,
    inbox: Arc<dyn Inbox>,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("queue", &self.queue)
            .field("bindings", &self.bindings)
            .field("max_attempts", &self.max_attempts)
            .field("concurrency", &self.concurrency)
            .field("retry_delays", &self.retry_delays)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Consumer {
    /// A consumer of `queue`, whose name scopes its inbox, with the database of its effects.
    pub fn new<DB, M, A, H>(queue: impl Display, pool: Pool<DB>, handler: H) -> Self
    where
        DB: BusinessDatabase,
        M: Decode + Send + 'static,
        A: 'static,
        H: for<'c> Consume<'c, DB::Connection, M, A> + 'static,
    {
        let queue = queue.to_string();
        let inbox = SqlInbox::new(queue.clone(), pool, OneByOne::new(handler));
        Self::with(queue, 1, Arc::new(inbox))
    }

    /// A consumer whose handler takes up to `size` messages at once, in one transaction: it handles many times as many as one
    /// that takes one by one, if it can do with few statements.
    ///
    /// Nothing waits for company: what has arrived goes together. The record of each message is in the transaction. If the
    /// handler fails, or is not done in time, or something is wrong with one of the messages, the transaction is rolled back,
    /// no attempt is counted, and the handler is called with each message by itself, in the order in which they came. So is it
    /// with a message that may have killed its process.
    ///
    /// Don't end the transaction: after a `COMMIT`, or on MySQL a statement that commits such as `TRUNCATE`, the messages count as
    /// handled, and what the handler goes on to write for them may be rolled back. And return the first error of a statement: over one
    /// that is swallowed, SQLite may have rolled the transaction back, and what comes after commits by itself, and happens again.
    ///
    /// The broker keeps up to [`concurrency`](Self::concurrency) times `size` messages in hand for it.
    ///
    /// ```
    /// # use serde::Deserialize;
    /// use sqlx::{QueryBuilder, Sqlite, SqliteConnection, SqlitePool};
    /// use transactional_message::{Consumer, Received};
    ///
    /// #[derive(Deserialize)]
    /// struct PaymentCompleted { order_id: String }
    ///
    /// async fn book(tx: &mut SqliteConnection, paid: Vec<Received<PaymentCompleted>>) -> Result<(), sqlx::Error> {
    ///     let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO vouchers (order_id) ");
    ///     insert.push_values(&paid, |mut row, paid| {
    ///         row.push_bind(&paid.payload.order_id);
    ///     });
    ///     insert.build().execute(tx).await?;
    ///     Ok(())
    /// }
    ///
    /// # fn f(pool: SqlitePool) {
    /// let accounting = Consumer::batch("accounting", 100, pool, book).bind("payments", "payment.completed");
    /// # }
    /// ```
    pub fn batch<DB, M, A, H>(queue: impl Display, size: usize, pool: Pool<DB>, handler: H) -> Self
    where
        DB: BusinessDatabase,
        M: Decode + Send + 'static,
        A: 'static,
        H: for<'c> ConsumeBatch<'c, DB::Connection, M, A> + 'static,
    {
        let queue = queue.to_string();
        let inbox = SqlInbox::new(queue.clone(), pool, Together::new(handler));
        Self::with(queue, size, Arc::new(inbox))
    }

    fn with(queue: String, batch: usize, inbox: Arc<dyn Inbox>) -> Self {
        let retry_delays = RETRY_DELAYS.map(Duration::from_secs).to_vec();
        Self {
            queue,
            bindings: Vec::new(),
            max_attempts: 20,
            concurrency: 8,
            batch,
            retry_delays,
            undecodable_after: UNDECODABLE_AFTER,
            limits: Limits::default(),
            continuation: TraceContinuation::default(),
            place: TablePlace::default(),
            identify: None,
            inbox,
        }
    }

    /// Takes messages of `exchange` whose routing key matches `pattern` (`*`: one word, `#`: any number).
    #[must_use]
    pub fn bind(mut self, exchange: impl Display, pattern: impl Display) -> Self {
        self.bindings.push((exchange.to_string(), pattern.to_string()));
        self
    }

    /// After how many attempts a failure is final. Default: 20.
    ///
    /// Within the process, attempts are counted per message, for all its consumers together; while
    /// another consumer may still succeed, this one is called again, too. With RabbitMQ, every queue
    /// counts for itself.
    ///
    /// A message whose handling ended with its process runs alone in its process when it comes again, and every time
    /// the process ends while nothing else is handled there counts as an attempt, too. The first time does not count,
    /// since others may have been to blame: with `max_attempts(3)`, a message that kills its process does so four times.
    /// It is dead then, without being tried again; within the process also when the setting `delivery_attempts` is
    /// used up.
    #[must_use]
    pub const fn max_attempts(mut self, max_attempts: u32) -> Self {
        self.max_attempts = max_attempts;
        self
    }

    /// How many messages, or batches of them, are handled at once. Default: 8. It can be changed while the messenger runs:
    /// [`Messenger::set_concurrency`](crate::Messenger::set_concurrency).
    ///
    /// Within the process, no more than 64 messages are in hand for a consumer.
    #[must_use]
    pub const fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// How long a failed message waits for its next attempt: after the first, the second, and so on;
    /// the last pause is kept. Default: 1 s, 5 s, 25 s, 2 min.
    ///
    /// For RabbitMQ, where each pause is a queue of its own; within the process, the setting
    /// `delivery_backoff` counts.
    #[must_use]
    pub fn retry_delays(mut self, pauses: impl IntoIterator<Item = Duration>) -> Self {
        self.retry_delays = pauses.into_iter().collect();
        self
    }

    /// How long the handler may take for a message. After that its future is dropped, its transaction is rolled
    /// back, and the attempt has failed. Default: 60 s; between 1 ms and 10 min.
    ///
    /// A handler that blocks its thread can't be ended like that.
    #[must_use]
    pub const fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.limits.handler_timeout = timeout;
        self
    }

    /// Whether what the handler does belongs to the trace in which the message was sent. Default:
    /// [`TraceContinuation::Auto`]. It needs the feature `opentelemetry`.
    #[must_use]
    pub const fn trace_continuation(mut self, continuation: TraceContinuation) -> Self {
        self.continuation = continuation;
        self
    }

    /// How long a message is remembered. One that is older when it arrives could no longer be
    /// recognised, and is dead. Default: 7 days.
    ///
    /// It may be raised at any time: up to when records were pruned is kept with the inbox, and what is older than
    /// that and not recorded is dead, too. Only ids that have no time in them, as those of other senders may be, are
    /// not protected by that.
    #[must_use]
    pub const fn inbox_retention(mut self, retention: Duration) -> Self {
        self.limits.retention = retention;
        self
    }

    /// How long a message whose body can't be decoded waits for a process that can, before it is dead. Default: 1 h; at
    /// most 24 h; with zero it is dead at once.
    ///
    /// That a body can't be decoded is one process's opinion: in a rolling deployment the next version may understand
    /// what this one does not. Meanwhile the message is given back and comes again, with growing pauses, and no attempt
    /// is counted. With RabbitMQ the time begins when a process first could not decode it; within the process,
    /// when the message was made.
    #[must_use]
    pub const fn undecodable_after(mut self, patience: Duration) -> Self {
        self.undecodable_after = patience;
        self
    }

    /// Takes messages of publishers that know nothing of this crate, from RabbitMQ: `key` says what identifies one, so that its
    /// effect happens once. Without this, a message must have a UUID as its `message_id`, and any other is dead.
    ///
    /// `key` is asked about every message of the queue, each time it is delivered. It must say the same about the same one: what
    /// its `message_id`, routing key and body say stays, headers that take more than 96 KiB may be left out when it is tried
    /// again. A message without a key counts on its `message_id`.
    ///
    /// The handler sees a UUID that is made from the key. There is no time in it: how old a message is, nobody knows, so one that
    /// comes again after the [`inbox_retention`](Self::inbox_retention) is handled again.
    ///
    /// ```
    /// # use sqlx::{SqliteConnection, SqlitePool};
    /// # use transactional_message::{Consumer, Received};
    /// # async fn book(_: &mut SqliteConnection, _: Received) -> Result<(), sqlx::Error> { Ok(()) }
    /// # fn f(pool: SqlitePool) {
    /// // A shop system numbers its messages; a till sends none, and has the receipt's number in a header.
    /// let sales = Consumer::new("sales", pool, book).bind("tills", "#").identified_by(|message| {
    ///     let receipt = message.headers.iter().find(|(name, _)| name == "receipt");
    ///     message.message_id.or(receipt.map(|(_, number)| number.as_str())).map(str::to_owned)
    /// });
    /// # }
    /// ```
    #[must_use]
    pub fn identified_by(
        mut self,
        key: impl Fn(&Foreign<'_>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.identify = Some(Identify::new(key));
        self
    }

    /// The PostgreSQL schema, or MySQL database, of the inbox.
    ///
    /// Default: where the inbox is as the pool's connections see it, else their current schema or database; found
    /// when the messenger is migrated or started. A `search_path`, a role or a `USE` that a handler sets moves
    /// nothing. SQLite has no schemas: this is ignored there.
    #[must_use]
    pub fn schema(mut self, schema: impl Display) -> Self {
        self.place.schema = Some(schema.to_string());
        self
    }

    /// What the names of the inbox's tables begin with, on PostgreSQL and MySQL. Default: `tm_`. See
    /// [`DatabaseSource::table_prefix`](crate::DatabaseSource::table_prefix).
    #[must_use]
    pub fn table_prefix(mut self, prefix: impl Display) -> Self {
        self.place.prefix = TablePrefix::new(&prefix.to_string());
        self
    }

    /// Creates or updates the tables of the inbox, as [`Messenger::migrate`](crate::Messenger::migrate) does for the consumers
    /// that a messenger is built with.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]; [`ErrorKind::Schema`] when the tables are newer than this crate.
    ///
    /// # Cancel safety
    /// Dropped half-way, some tables are there and others are not; call it again.
    pub async fn migrate(&self) -> Result<(), Error> {
        let migrated = self.create_tables().await;
        migrated.map_err(|cause| cause.into_error("the inbox could not be created or updated"))
    }

    pub(crate) async fn create_tables(&self) -> Result<(), StoreError> {
        self.inbox.migrate(self.place()?).await
    }

    fn place(&self) -> Result<&TablePlace, StoreError> {
        self.place.prefix.problem().map_or(Ok(&self.place), |problem| Err(StoreError::Refused(problem)))
    }

    /// Checks that the tables have the version that this crate knows.
    pub(crate) async fn check_schema(&self) -> Result<(), StoreError> {
        self.inbox.check_schema(self.place()?).await
    }

    pub(crate) fn queue(&self) -> &str {
        &self.queue
    }

    /// Where its messages come from.
    pub(crate) fn exchanges(&self) -> impl Iterator<Item = &str> {
        self.bindings.iter().map(|(exchange, _)| exchange.as_str())
    }

    pub(crate) const fn remembers(&self) -> Duration {
        self.limits.retention
    }

    pub(crate) const fn most_at_once(&self) -> usize {
        self.concurrency
    }

    pub(crate) const fn most_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// Handles messages as if each had come out of the queue for the first time.
    #[cfg(feature = "testing")]
    pub(crate) async fn handle(
        &self,
        halves: Vec<Arc<Half>>,
        data: &DataMap,
    ) -> Result<Vec<Disposition>, StoreError> {
        self.create_tables().await?;
        let work = work::Work {
            inbox: Arc::clone(&self.inbox),
            budget: self.max_attempts,
            alone: Alone::default(),
            given: inbox::Given { limits: self.limits, continuation: self.continuation, data: data.clone() },
            under_way: work::UnderWay::default(),
        };
        let item = |half: &Arc<Half>| inbox::Item { id: half.id, message: half.message.clone(), attempt: 1 };
        let mut handled = Vec::new();
        for halves in halves.chunks(self.batch) {
            handled.extend(work.run_all(halves.iter().map(item).collect()).await);
        }
        Ok(handled)
    }

    /// What the transport has to know.
    pub(crate) fn wanted(
        &self,
        concurrency: watch::Receiver<usize>,
        paused: watch::Receiver<Option<Paused>>,
    ) -> Queue {
        Queue {
            name: self.queue.clone(),
            bindings: self.bindings.clone(),
            concurrency,
            batch: self.batch,
            paused,
            retry_delays: self.retry_delays.clone(),
            undecodable_after: self.undecodable_after,
            identify: self.identify.clone(),
        }
    }

    pub(crate) fn validate(&self, data: &DataMap) -> Result<(), Error> {
        let prefix = self.place.prefix.problem();
        let problem = if let Some(prefix) = &prefix {
            prefix
        } else if self.queue.is_empty() || self.queue.len() > SHORT_STRING_BYTES {
            "its queue's name must have 1 to 255 bytes"
        } else if self.bindings.is_empty() {
            "it is bound to nothing: add `.bind(\"exchange\", \"routing.key\")`"
        } else if self.max_attempts == 0 {
            "`max_attempts` must be at least 1"
        } else if self.concurrency == 0 {
            NO_CONCURRENCY
        } else if !(1..=MOST_TOGETHER).contains(&self.batch) {
            "a batch must have 1 to 1000 messages"
        } else if self.retry_delays.is_empty() || self.retry_delays.len() > MOST_PAUSES {
            "`retry_delays` must have 1 to 16 pauses: each is a queue in RabbitMQ"
        } else if !self.retry_delays.iter().all(|pause| (SHORTEST_PAUSE..=LONGEST_PAUSE).contains(pause)) {
            "the pauses of `retry_delays` must be between 1 ms and 24 h"
        } else if !(SHORTEST_PAUSE..=LONGEST_HANDLING).contains(&self.limits.handler_timeout) {
            "`handler_timeout` must be between 1 ms and 10 min: RabbitMQ lets no message be held for half an hour"
        } else if self.undecodable_after > LONGEST_PAUSE {
            "`undecodable_after` must be at most 24 h"
        } else {
            return data.has_all(&self.inbox.needs()).map_err(|what| {
                let text = format!("the handler of the consumer `{}` takes {what}", self.queue);
                Error::new(ErrorKind::Configuration, text)
            });
        };
        Err(Error::new(
            ErrorKind::Configuration,
            format!("the consumer `{}` can't work: {problem}", self.queue),
        ))
    }
}
