//! The inbox: record and effect in one transaction, so that the effect happens once per message.

use std::marker::PhantomData;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sqlx::Pool;
use tokio::time::timeout;
use tracing::Instrument;

use super::Received;
use super::batch::Handle;
use super::failure::disposition;
use super::trouble::Trouble;
use crate::check_back::{DataMap, Decode, Need};
use crate::fault;
use crate::message::{Message, MessageId, age, begins, sent_ago};
use crate::sql::{
    BusinessDatabase, InboxEntry, InboxKey, InboxQueue, Namespace, RawTransaction, TablePlace, WriteTurn,
    begin_on_pool,
};
use crate::store::StoreError;
use crate::telemetry::catalogue::{CONSUMED, END_TO_END, HANDLER_DURATION};
use crate::telemetry::context::TraceContinuation;
use crate::telemetry::labels::{Buried, Consumed, Handled};
use crate::telemetry::spans;
use crate::transport::Disposition;

/// How long anything but the handler may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a transaction that is not committed may take to end.
const GRACE: Duration = Duration::from_secs(2);

/// How long a message is handled, and remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(super) handler_timeout: Duration,
    pub(super) retention: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { handler_timeout: Duration::from_mins(1), retention: Duration::from_hours(7 * 24) }
    }
}

/// A message to be handled with others.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(super) id: MessageId,
    pub(super) message: Message,
    pub(super) attempt: u32,
}

/// What every handling is given.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(super) limits: Limits,
    pub(super) continuation: TraceContinuation,
    /// The application's.
    pub(super) data: DataMap,
}

/// A handler with its database, without their types.
#[async_trait]
pub(crate) trait Inbox: std::fmt::Debug + Send + Sync {
    /// The data that the handler takes.
    fn needs(&self) -> Vec<Need>;
    /// Creates or updates the tables.
    async fn migrate(&self, place: &TablePlace) -> Result<(), StoreError>;
    async fn check_schema(&self, place: &TablePlace) -> Result<(), StoreError>;
    /// Handles one delivery, up to and including the commit. The effect of one that was `entered` alone takes its
    /// notes back.
    async fn process(
        &self,
        id: MessageId,
        message: Message,
        attempt: u32,
        entered: bool,
        given: &Given,
    ) -> Disposition;
    /// Handles deliveries together, up to and including the commit. Says why they are not: then each is to be handled by
    /// itself.
    async fn process_together(&self, items: &[Item], given: &Given) -> Result<(), String>;
    /// Forgets at most `limit` of the messages that are older than the retention.
    async fn prune(&self, retention: Duration, limit: u32) -> Result<u64, StoreError>;
    /// How often each message was entered alone, and no end of that is known.
    async fn entries(&self) -> Result<Vec<(MessageId, i64)>, StoreError>;
    /// Notes that a message is about to be handled alone. `false`: its effect has happened.
    async fn enter_alone(&self, id: MessageId) -> Result<bool, StoreError>;
    /// Takes the last such note back, or all of a message.
    async fn leave_alone(&self, id: MessageId, all: bool) -> Result<(), StoreError>;
    /// A message could not be recorded, and waits.
    fn keeps_waiting(&self, id: MessageId, error: &StoreError);
    /// Counts a message whose effect had happened before.
    fn came_again(&self);
}

pub(super) struct SqlInbox<DB: BusinessDatabase, M, H> {
    queue: String,
    pub(super) pool: Pool<DB>,
    pub(super) handler: H,
    trouble: Trouble,
    /// Where the inbox is; known when it was migrated or checked.
    namespace: OnceLock<Namespace>,
    message: PhantomData<fn() -> M>,
}

impl<DB: BusinessDatabase, M, H> std::fmt::Debug for SqlInbox<DB, M, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlInbox").field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// A transaction with the message's record in it.
struct Entered<DB: BusinessDatabase> {
    tx: RawTransaction<'static, DB>,
    session: i64,
    turn: WriteTurn,
}

impl<DB, M, H> SqlInbox<DB, M, H>
where
    DB: BusinessDatabase,
    M: Decode + Send + 'static,
    H: for<'c> Handle<'c, DB::Connection, M> + 'static,
{
    pub(super) fn new(queue: String, pool: Pool<DB>, handler: H) -> Self {
        let (trouble, namespace) = (Trouble::default(), OnceLock::new());
        Self { queue, pool, handler, trouble, namespace, message: PhantomData }
    }

    /// This queue, where its inbox is.
    pub(super) fn place(&self) -> Result<InboxQueue<'_>, StoreError> {
        let namespace = self.namespace.get().ok_or_else(|| {
            StoreError::Unavailable(format!("the inbox of the consumer `{}` was not checked yet", self.queue))
        })?;
        Ok(InboxQueue { namespace, name: &self.queue })
    }

    /// The whole transaction. Without `Done` it was rolled back, or nobody knows; the message
    /// comes again in both cases, and the record tells.
    async fn once(
        &self,
        arrival: Arrival,
        message: Received<M>,
        entered: bool,
        given: &Given,
    ) -> Disposition {
        if fault::bug("inbox-apart") && !self.enter_apart(arrival).await {
            return Disposition::Done;
        }
        let Entered { mut tx, session, turn: _turn } = match self.enter(arrival, entered).await {
            Ok(entered) => entered,
            Err(handled) => return handled,
        };
        // Whoever drops us in the middle of a statement of the handler closes the connection.
        tx.may_be_cut_off();
        let patience = given.limits.handler_timeout;
        let began = Instant::now();
        let worked = timeout(patience, self.handler.handle(&mut tx, vec![message])).await;
        self.note_handler(began, matches!(worked, Ok(Ok(()))));
        let Ok(worked) = worked.map(|worked| worked.map_err(disposition)) else {
            self.cut_off(tx, session).await;
            return Disposition::Failed(format!(
                "the handler did not end within {patience:?}, which is the consumer's `handler_timeout`"
            ));
        };
        tx.ended();
        fault::point("effect-done");
        match worked {
            Ok(()) => {
                let handled = self.commit(tx, arrival).await;
                if handled == Disposition::Done {
                    self.count(&[arrival]);
                }
                handled
            }
            Err(handled) => {
                self.roll_back(tx, session).await;
                handled
            }
        }
    }

    pub(super) fn note_handler(&self, began: Instant, succeeded: bool) {
        let result = if succeeded { Handled::Ok } else { Handled::Failed };
        HANDLER_DURATION.pick(&self.queue, result).record(began.elapsed());
    }

    /// Counts messages whose effect is committed.
    pub(super) fn count(&self, arrivals: &[Arrival]) {
        CONSUMED.pick(&self.queue, Consumed::Ok).increment(arrivals.len() as u64);
        let took = END_TO_END.one(&self.queue);
        // Of other publishers' messages nobody knows when they were sent.
        for arrival in arrivals.iter().filter(|arrival| begins(arrival.id, arrival.due).is_some()) {
            took.record(age(arrival.id, arrival.due));
        }
    }

    /// Begins, with the message's record. `Err`: there is nothing to be handled.
    async fn enter(&self, arrival: Arrival, entered: bool) -> Result<Entered<DB>, Disposition> {
        let id = arrival.id;
        let enter = async {
            let queue = self.place()?;
            let (mut tx, turn) = begin_on_pool(&self.pool).await?;
            tx.may_be_cut_off();
            let mut entry = DB::enter_inbox(&mut tx, key(queue, arrival)).await;
            // Now, and not before the commit: the handler may give up its rights.
            if entered && matches!(entry, Ok(InboxEntry::New { .. })) {
                entry = DB::leave_alone(&mut tx, key(queue, arrival), true).await.and(entry);
            }
            tx.ended();
            Ok((tx, turn, entry))
        };
        let entered = timeout(PATIENCE, enter).await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable(format!("the message could not be recorded within {PATIENCE:?}")))
        });
        let (tx, turn, entry) = entered.map_err(|error| self.not_now(id, &error))?;
        let entry = match entry {
            Ok(InboxEntry::Known) if fault::bug("inbox-apart") => Ok(InboxEntry::New { session: 0 }),
            entry => entry,
        };
        let handled = match entry {
            Ok(InboxEntry::New { session }) => {
                self.trouble.is_over(&self.queue);
                return Ok(Entered { tx, session, turn });
            }
            Ok(InboxEntry::Known) => {
                tracing::debug!(%id, queue = self.queue, "a message whose effect has happened came again");
                self.came_again();
                Disposition::Done
            }
            Ok(InboxEntry::Forgotten) => forgotten(),
            Err(error) => self.not_now(id, &error),
        };
        let _ = timeout(GRACE, tx.rollback()).await;
        Err(handled)
    }

    fn not_now(&self, id: MessageId, error: &StoreError) -> Disposition {
        self.trouble.keeps(&self.queue, id, error);
        Disposition::NotNow(error.to_string())
    }

    /// Commits, if the record is still in the transaction. A failed statement whose error was swallowed must not be
    /// acknowledged.
    pub(super) async fn commit(&self, mut tx: RawTransaction<'static, DB>, arrival: Arrival) -> Disposition {
        let commit = async {
            tx.may_be_cut_off();
            let proven = match self.place() {
                _ if fault::bug("inbox-apart") => Ok(true),
                Ok(queue) => DB::prove_inbox(&mut tx, key(queue, arrival)).await,
                Err(error) => Err(error),
            };
            tx.ended();
            if !matches!(proven, Ok(true)) {
                let _ = tx.rollback().await;
            } else if let Err(error) = fault::pending("inbox-commit-sent", tx.commit()).await {
                return Disposition::Failed(error.to_string());
            }
            match proven {
                Ok(true) => Disposition::Done,
                Ok(false) => forgotten(),
                Err(why) => Disposition::Failed(why.to_string()),
            }
        };
        let committed = timeout(PATIENCE, commit).await;
        let handled = committed.unwrap_or_else(|_| {
            Disposition::Failed(format!("the transaction did not end within {PATIENCE:?}"))
        });
        if handled == Disposition::Done {
            fault::point("inbox-committed");
        }
        handled
    }

    /// Ends the transaction of a handler that was dropped, in the middle of whatever it did.
    pub(super) async fn cut_off(&self, tx: RawTransaction<'static, DB>, session: i64) {
        if !DB::LOSES_TRACK {
            return self.roll_back(tx, session).await;
        }
        // Closes the connection; and the server may still be busy with a statement that came by it.
        drop(tx);
        self.end(session).await;
    }

    /// Rolls back, but does not wait for long: a handler that gave up a statement of its own accord may have left the
    /// server busy with it, or sqlx without track of its answer. The connection is closed then.
    pub(super) async fn roll_back(&self, tx: RawTransaction<'static, DB>, session: i64) {
        if timeout(GRACE, tx.rollback()).await.is_err() {
            self.end(session).await;
        }
    }

    async fn end(&self, session: i64) {
        let ended = timeout(GRACE, DB::end_session(&self.pool, session)).await;
        tracing::debug!(queue = self.queue, ?ended, "a handler's session was ended");
    }

    /// A transaction of our own, beside the handlers'.
    async fn transaction<T>(
        &self,
        work: impl for<'c> FnOnce(&'c mut DB::Connection, InboxQueue<'c>) -> BoxFuture<'c, Result<T, StoreError>>
        + Send,
    ) -> Result<T, StoreError> {
        let transaction = async {
            let queue = self.place()?;
            let (mut tx, _turn) = begin_on_pool(&self.pool).await?;
            tx.may_be_cut_off();
            let worked = work(&mut tx, queue).await;
            tx.ended();
            match worked {
                Ok(value) => {
                    tx.commit().await?;
                    Ok(value)
                }
                Err(error) => {
                    let _ = tx.rollback().await;
                    Err(error)
                }
            }
        };
        timeout(PATIENCE, transaction).await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable(format!("the inbox did not answer within {PATIENCE:?}")))
        })
    }

    /// A planted bug: the record in a transaction of its own. Says whether the message is new.
    async fn enter_apart(&self, arrival: Arrival) -> bool {
        let (Ok(queue), Ok((mut tx, _turn))) = (self.place(), begin_on_pool(&self.pool).await) else {
            return false;
        };
        let entered = DB::enter_inbox(&mut tx, key(queue, arrival)).await;
        tx.commit().await.is_ok() && matches!(entered, Ok(InboxEntry::New { .. }))
    }
}

/// A message as it arrives, and when it fell due if it had a delay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) id: MessageId,
    pub(super) due: Option<SystemTime>,
}

impl Arrival {
    /// Since when it could have been delivered, in milliseconds since 1970; far in the future if nobody knows.
    pub(super) fn begins(&self) -> i64 {
        begins(self.id, self.due).map_or(i64::MAX, millis)
    }
}

impl From<MessageId> for Arrival {
    fn from(id: MessageId) -> Self {
        Self { id, due: None }
    }
}

pub(super) fn key(queue: InboxQueue<'_>, arrival: impl Into<Arrival>) -> InboxKey<'_> {
    let arrival = arrival.into();
    let due = arrival.due.and_then(|due| due.duration_since(SystemTime::UNIX_EPOCH).ok());
    InboxKey { queue, id: arrival.id, begins: arrival.begins(), due: due.map_or(0, millis) }
}

fn forgotten() -> Disposition {
    Disposition::Rejected(
        Buried::TooOld,
        "made before what this queue remembers: records of that time were pruned, and its effect may have happened; \
         `Consumer::inbox_retention` was shorter once, or is in another process"
            .into(),
    )
}

impl<DB: BusinessDatabase, M, H> SqlInbox<DB, M, H> {
    /// Where the tables are is found once, for all clones of a consumer.
    fn keep(&self, found: &Namespace) -> Result<(), StoreError> {
        let kept = self.namespace.get_or_init(|| found.clone());
        if kept == found {
            return Ok(());
        }
        Err(StoreError::Schema(format!(
            "the inbox of `{}` was elsewhere when it was looked for before: say `schema` and `table_prefix` before `migrate`, and \
             make a consumer anew, instead of cloning one, for another place",
            self.queue
        )))
    }
}

#[async_trait]
impl<DB, M, H> Inbox for SqlInbox<DB, M, H>
where
    DB: BusinessDatabase,
    M: Decode + Send + 'static,
    H: for<'c> Handle<'c, DB::Connection, M> + 'static,
{
    fn needs(&self) -> Vec<Need> {
        H::needs()
    }

    async fn migrate(&self, place: &TablePlace) -> Result<(), StoreError> {
        let namespace = DB::migrate_inbox(&self.pool, place).await?;
        self.keep(&namespace)
    }

    async fn check_schema(&self, place: &TablePlace) -> Result<(), StoreError> {
        let namespace = DB::check_inbox(&self.pool, place).await?;
        self.keep(&namespace)
    }

    async fn process(
        &self,
        id: MessageId,
        message: Message,
        attempt: u32,
        entered: bool,
        given: &Given,
    ) -> Disposition {
        let limits = given.limits;
        let arrival = Arrival { id, due: message.schedule.due() };
        if age(id, arrival.due) > limits.retention {
            let why = format!(
                "older than the {:?} for which this consumer remembers messages: it could not be recognised as a duplicate",
                limits.retention
            );
            return Disposition::Rejected(Buried::TooOld, why);
        }
        match Received::decode(id, message, attempt, &given.data) {
            Err(why) => Disposition::Undecodable(format!("the body can't be decoded: {why}")),
            Ok(message) => {
                let about = (message.exchange.as_str(), message.headers.as_slice());
                let when = (attempt, sent_ago(id));
                let span = spans::process(&self.queue, about, id, when, given.continuation);
                self.once(arrival, message, entered, given).instrument(span).await
            }
        }
    }

    async fn process_together(&self, items: &[Item], given: &Given) -> Result<(), String> {
        let first = items.first().map(|item| item.id);
        let headers = items.iter().map(|item| item.message.headers.as_slice());
        let span = spans::process_together(&self.queue, first, headers);
        self.together(items, given).instrument(span).await
    }

    async fn prune(&self, retention: Duration, limit: u32) -> Result<u64, StoreError> {
        self.transaction(|connection, queue| DB::prune_inbox(connection, queue, retention, limit)).await
    }

    async fn entries(&self) -> Result<Vec<(MessageId, i64)>, StoreError> {
        self.transaction(|connection, queue| DB::entries(connection, queue)).await
    }

    async fn enter_alone(&self, id: MessageId) -> Result<bool, StoreError> {
        self.transaction(|connection, queue| DB::enter_alone(connection, key(queue, id))).await
    }

    async fn leave_alone(&self, id: MessageId, all: bool) -> Result<(), StoreError> {
        self.transaction(|connection, queue| DB::leave_alone(connection, key(queue, id), all)).await
    }

    fn keeps_waiting(&self, id: MessageId, error: &StoreError) {
        self.trouble.keeps(&self.queue, id, error);
    }

    fn came_again(&self) {
        CONSUMED.pick(&self.queue, Consumed::Repeated).increment(1);
    }
}

fn millis(made: Duration) -> i64 {
    i64::try_from(made.as_millis()).unwrap_or(i64::MAX)
}
