//! The consumer: a queue, its bindings, and a handler whose effect happens once per message.

mod handler;
mod inbox;

use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Pool;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use handler::{Consume, Received};
use inbox::{Inbox, SqlInbox};

use crate::check_back::Decode;
use crate::error::{Error, ErrorKind};
use crate::fault;
use crate::fence::BusinessDatabase;
use crate::message::limits::SHORT_STRING_BYTES;
use crate::transport::{Delivery, Handled, Queue};
use crate::worker::{Worker, panic_text};

/// The default pauses between attempts, in seconds.
const RETRY_AFTER: [u64; 4] = [1, 5, 25, 120];
const MOST_PAUSES: usize = 16;
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_hours(24);
/// Longer than a rolling deployment takes.
const UNDECODABLE_AFTER: Duration = Duration::from_hours(1);

/// A queue and the handler of its messages.
///
/// The handler runs in a transaction whose first statement records the message in the *inbox*, so
/// that its effect happens once per message, however often the message is delivered. A handler
/// that fails is asked again with growing pauses, up to [`attempts`](Self::attempts). After that,
/// and when nobody could decode its body for [some time](Self::undecodable_after), the message is
/// dead, with the reason, and waits for a person.
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
    attempts: u32,
    concurrency: usize,
    retry_after: Vec<Duration>,
    undecodable_after: Duration,
    pub(crate) inbox: Arc<dyn Inbox>,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("queue", &self.queue)
            .field("bindings", &self.bindings)
            .field("attempts", &self.attempts)
            .field("concurrency", &self.concurrency)
            .field("retry_after", &self.retry_after)
            .finish_non_exhaustive()
    }
}

impl Consumer {
    /// A consumer of `queue`, whose name scopes its inbox, with the database of its effects.
    pub fn new<DB, M, H>(queue: impl Display, pool: Pool<DB>, handler: H) -> Self
    where
        DB: BusinessDatabase,
        M: Decode + Send + 'static,
        H: for<'c> Consume<'c, DB::Connection, M> + 'static,
    {
        let queue = queue.to_string();
        let inbox = Arc::new(SqlInbox::new(queue.clone(), pool, handler));
        let retry_after = RETRY_AFTER.map(Duration::from_secs).to_vec();
        Self {
            queue,
            bindings: Vec::new(),
            attempts: 20,
            concurrency: 8,
            retry_after,
            undecodable_after: UNDECODABLE_AFTER,
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
    /// counts for itself; a message that the process died over has been attempted, too.
    #[must_use]
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// How many messages are handled at once. Default: 8.
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
    pub fn retry_after(mut self, pauses: impl IntoIterator<Item = Duration>) -> Self {
        self.retry_after = pauses.into_iter().collect();
        self
    }

    /// How long a message is remembered. One that is older when it arrives could no longer be
    /// recognised, and is dead. Default: 7 days.
    #[must_use]
    pub fn remember(mut self, retention: Duration) -> Self {
        self.inbox = self.inbox.with_retention(retention);
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

    /// The PostgreSQL schema, or MySQL database, of the inbox.
    ///
    /// Default: where the inbox is as the pool's connections see it, else their current schema or database; found
    /// when the messenger is migrated or started. A `search_path`, a role or a `USE` that a handler sets moves
    /// nothing. SQLite has no schemas: this is ignored there.
    #[must_use]
    pub fn schema(mut self, schema: impl Display) -> Self {
        self.inbox = self.inbox.with_schema(schema.to_string());
        self
    }

    pub(crate) fn queue(&self) -> &str {
        &self.queue
    }

    /// What the transport has to know.
    pub(crate) fn wanted(&self) -> Queue {
        Queue {
            name: self.queue.clone(),
            bindings: self.bindings.clone(),
            concurrency: self.concurrency,
            retry_after: self.retry_after.clone(),
            undecodable_after: self.undecodable_after,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        let problem = if self.queue.is_empty() || self.queue.len() > SHORT_STRING_BYTES {
            "its queue's name must have 1 to 255 bytes"
        } else if self.bindings.is_empty() {
            "it is bound to nothing: add `.bind(\"exchange\", \"routing.key\")`"
        } else if self.attempts == 0 {
            "`attempts` must be at least 1"
        } else if self.concurrency == 0 {
            "`concurrency` must be at least 1"
        } else if self.retry_after.is_empty() || self.retry_after.len() > MOST_PAUSES {
            "`retry_after` must have 1 to 16 pauses: each is a queue in RabbitMQ"
        } else if !self.retry_after.iter().all(|pause| (SHORTEST_PAUSE..=LONGEST_PAUSE).contains(pause)) {
            "the pauses of `retry_after` must be between 1 ms and 24 h"
        } else if self.undecodable_after > LONGEST_PAUSE {
            "`undecodable_after` must be at most 24 h"
        } else {
            return Ok(());
        };
        Err(Error::new(
            ErrorKind::Configuration,
            format!("the consumer `{}` can't work: {problem}", self.queue),
        ))
    }
}

/// The loop that handles a queue's deliveries.
#[derive(Debug)]
pub(crate) struct ConsumerLoop {
    pub(crate) consumer: Consumer,
    pub(crate) deliveries: Receiver<Delivery>,
    pub(crate) handling: JoinSet<()>,
}

async fn handle(inbox: Arc<dyn Inbox>, attempts: u32, delivery: Delivery) {
    fault::point("received");
    let Delivery { id, message, attempt, suspect: _, settle } = delivery;
    // Whoever delivers it may have left while it waited.
    if settle.is_closed() {
        return;
    }
    let mut settle = Some(settle);
    if fault::bug("ack-before-commit") {
        settle.take().map(|settle| settle.send(Handled::Done));
    }
    // In a task of its own, so that a panic fails this message and nothing else.
    let task = AbortOnDropHandle::new(tokio::spawn(async move { inbox.process(id, message, attempt).await }));
    let handled = match task.await {
        Ok(handled) => handled,
        Err(failed) => Handled::Failed(match failed.try_into_panic() {
            Ok(panic) => format!("the handler panicked: {}", panic_text(panic.as_ref())),
            Err(failed) => failed.to_string(),
        }),
    };
    let handled = match handled {
        Handled::Failed(why) if attempt >= attempts => {
            Handled::Rejected(format!("failed {attempt} times; the last time: {why}"))
        }
        handled => handled,
    };
    // Nobody listens any more when that one gave up: the message comes again.
    settle.map(|settle| settle.send(handled));
}

#[async_trait]
impl Worker for ConsumerLoop {
    const NAME: &'static str = "consumer";

    async fn run(&mut self, stop: &CancellationToken) {
        loop {
            tokio::select! {
                Some(_) = self.handling.join_next() => {}
                delivery = self.deliveries.recv(), if self.handling.len() < self.consumer.concurrency => {
                    let Some(delivery) = delivery else { break };
                    let inbox = Arc::clone(&self.consumer.inbox);
                    self.handling.spawn(handle(inbox, self.consumer.attempts, delivery));
                }
                () = stop.cancelled() => break,
            }
        }
        while self.handling.join_next().await.is_some() {}
    }
}
