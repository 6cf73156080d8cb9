//! `enter`: puts the fence row into a transaction that the caller has opened, and commits.
//!
//! Its row says that there is nothing to send until the body is done, so a caller may commit whatever a body that failed
//! has left behind. (A savepoint would do the same. But where sqlx 0.9 can't open one, it rolls the caller's transaction
//! back, and the caller's next statements commit by themselves.)

use futures_util::future::BoxFuture;
use sqlx::{Connection, Transaction};

use super::open::OpenTransaction;
use super::running;
use super::scope::CallScope;
use super::staged::StagedHalves;
use crate::error::{Error, ErrorKind};
use crate::fence::FenceDatabase;
use crate::message::{Message, MessageId, Payload};
use crate::rules::body_state::Commit;
use crate::sql::{BusinessDatabase, FenceDialect, FenceKey, FenceRefusal, TransactionDialect};
use crate::store::StoreError;

/// Puts the call's fence row into `on`, a transaction that the caller of the annotated function has opened and will
/// commit. The counterpart of [`begin`](crate::begin) for functions that are handed their transaction, as by a
/// repository layer.
///
/// When all its work is done, the body says so with [`Entered::done`]. Then the message is sent if and only if the
/// caller commits: its fence is read, with pauses that grow from 10 ms to 2 s, until the row is there. After `check_after`
/// it is asked like that of a process that vanished: a transaction that is still open is waited for, with pauses that grow
/// to minutes (`check_back_backoff`). A body that returns `Err`, panics or is dropped before it was done sends nothing,
/// whatever the caller commits.
///
/// Not for a function with messages in its attribute whose caller's transaction writes to the same SQLite file as the message
/// store: that has one writer, so the half message would wait for the caller. What the body sends goes along with it.
///
/// # Errors
/// [`ErrorKind::Misuse`] outside a fenced call, with a connection on which sqlx knows of no open transaction, while another
/// transaction of the call is open, or with another database than the messenger's fence;
/// [`ErrorKind::AlreadyCommitted`] when an earlier transaction of the call is done or has committed;
/// [`ErrorKind::Fenced`] when the call was cancelled meanwhile, or had entered before; [`ErrorKind::Schema`] when the
/// database has no fence; [`ErrorKind::Unavailable`]. On PostgreSQL, the transaction can only be rolled back after any of
/// the database's own errors.
///
/// # Cancel safety
/// Dropped, it may leave the row behind, which says that there is nothing to send.
pub async fn enter<'c, T: InTransaction<'c>>(on: T) -> Result<Entered, Error> {
    let running = running::current()?;
    let connection = on.connection();
    if !connection.is_in_transaction() {
        return Err(outside("enter", running.scope()));
    }
    let open = running.open_transaction(<T::Database as TransactionDialect>::WAITS_FOR_ITSELF)?;
    open.enters();
    let key = open.key();
    let joined = T::Database::execute(connection, T::Database::join_statement(&key)).await;
    joined.map_err(|error| explain(T::Database::join_refusal(error, &key), running.scope()))?;
    Ok(Entered { open })
}

/// What [`enter`] and [`Entered::done`] take: a transaction of sqlx, or a connection on which one is open.
#[diagnostic::on_unimplemented(
    message = "`enter` cannot enter a transaction on `{Self}`",
    note = "pass `&mut tx`, where `tx` is a `sqlx::Transaction`, or `&mut` a connection on which one is open"
)]
pub trait InTransaction<'c>: Send + Sized + 'c {
    /// The kind of database.
    type Database: BusinessDatabase;

    #[doc(hidden)]
    fn connection(self) -> &'c mut <Self::Database as sqlx::Database>::Connection;
}

impl<'c, 't: 'c, DB: BusinessDatabase> InTransaction<'c> for &'c mut Transaction<'t, DB> {
    type Database = DB;

    fn connection(self) -> &'c mut DB::Connection {
        self
    }
}

macro_rules! in_transaction {
    ($feature:literal, $database:ty, $connection:ty) => {
        #[cfg(feature = $feature)]
        impl<'c> InTransaction<'c> for &'c mut $connection {
            type Database = $database;

            fn connection(self) -> &'c mut $connection {
                self
            }
        }
    };
}

in_transaction!("sqlite", sqlx::Sqlite, sqlx::SqliteConnection);
in_transaction!("postgres", sqlx::Postgres, sqlx::PgConnection);
in_transaction!("mysql", sqlx::MySql, sqlx::MySqlConnection);

/// A body's part in its caller's transaction. Made by [`enter`].
#[derive(Debug)]
#[must_use = "without `done`, nothing is sent"]
pub struct Entered {
    open: OpenTransaction,
}

impl Entered {
    /// Replaces the payload of the call's message, for bodies that learn an id inside the transaction. It is written by
    /// [`done`](Self::done).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidMessage`] when it can't be encoded or is too large;
    /// [`ErrorKind::Misuse`] when the call has not exactly one message.
    pub fn amend<M: Payload + ?Sized>(&mut self, message: &M) -> Result<(), Error> {
        let message = Message::json("", "", message).map_err(Error::in_body)?;
        self.open.amend(message.payload)
    }

    /// Sends a message with the transaction, besides those of the attribute. See [`send`](crate::send).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidMessage`] when it could never be stored or published.
    pub fn send(&mut self, message: Message) -> Result<MessageId, Error> {
        Ok(self.send_all([message])?[0])
    }

    /// The same for many messages, all or none of them. See [`send_all`](crate::send_all).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidMessage`] when one of them could never be stored or published.
    pub fn send_all(&mut self, messages: impl IntoIterator<Item = Message>) -> Result<Vec<MessageId>, Error> {
        self.open.running.stage(messages)
    }

    /// Stores the messages of [`send`](Self::send), and says that the body is done: from now on, what it sends is sent if the
    /// caller commits. `on` is the transaction that was entered; on MySQL and SQLite, at the same level of nested transactions.
    ///
    /// The last thing that a body does before it returns `Ok`. An `Err` after it takes nothing back.
    ///
    /// # Errors
    /// [`ErrorKind::Misuse`] outside a body, and with a connection on which sqlx knows of no open transaction.
    /// [`ErrorKind::Unproven`]: the database refused it; the fence row is not in this transaction, or a statement before had
    /// failed. [`ErrorKind::Unavailable`]: the database failed. After any of them, return an `Err`, and have the transaction
    /// rolled back: this does not do it.
    ///
    /// # Cancel safety
    /// Dropped, the body may or may not be done: the message is sent exactly if the row that the caller commits says so.
    pub async fn done<'c, T: InTransaction<'c>>(self, on: T) -> Result<(), Error> {
        running::current()?;
        let connection = on.connection();
        if !connection.is_in_transaction() {
            return Err(outside("done", self.open.call()));
        }
        done::<T::Database>(self.open, connection).await
    }
}

/// Boxed: a future that held the connection itself would not be `Send` for all kinds of `T`.
fn done<DB: BusinessDatabase>(
    open: OpenTransaction,
    connection: &mut DB::Connection,
) -> BoxFuture<'_, Result<(), Error>> {
    Box::pin(async move {
        let mut staged = open.store_staged::<DB>(connection).await?;
        let key = open.key();
        let Some(write) = open.is_done(staged.call_id()) else { return Ok(()) };
        staged.commit_begins(Commit::Callers);
        let done = match write.amended {
            Some(payload) => DB::done_amended(connection, key, payload, write.decided).await,
            None => DB::execute(connection, DB::done_statement(&key, write.decided)).await,
        };
        let Err(error) = done else {
            staged.left_to_the_caller();
            return Ok(());
        };
        let function = open.function();
        // What the database has refused is not in the row; for the rest, only the fence knows.
        if error.as_database_error().is_some() {
            open.commit_refused();
            staged.commit_refused();
            let text = format!(
                "`done` of `{function}` was refused, so its message is not sent: roll the transaction back; had a statement \
                 failed in it, or was it ended, or rolled back to a savepoint before `enter`?"
            );
            return Err(Error::new(ErrorKind::Unproven, text).with_source(StoreError::from(error)).in_body());
        }
        staged.left_to_the_caller();
        let text = format!("`done` of `{function}` failed: roll the transaction back");
        Err(Error::new(ErrorKind::Unavailable, text).with_source(StoreError::from(error)).in_body())
    })
}

/// [`enter`] for a client that is not sqlx: its two statements as text, for one transaction.
///
/// # Errors
/// As [`enter`]'s, as far as they don't come from the database.
pub fn enter_sql() -> Result<EnteredSql, Error> {
    let running = running::current()?;
    let open = running.open_transaction(running.scope().fence_waits_for_itself())?;
    open.enters();
    running.decided().at_once = true;
    let key = open.key();
    let enter = open.fence().map_or_else(String::new, |fence| fence.join_statement(&key));
    Ok(EnteredSql { enter, key, open })
}

/// The statements of [`enter_sql`]. Each is several, separated by semicolons, and has no parameters: execute it as one
/// text, without preparing it (`batch_execute`, `execute_unprepared`), in the same transaction as the body's work. Where
/// there is nothing to send, the second one does nothing.
///
/// ```no_run
/// # use transactional_message::{enter_sql, Error};
/// # struct Client; impl Client { async fn batch_execute(&self, sql: &str) -> Result<(), Error> { Ok(()) } }
/// # async fn book(tx: &Client) -> Result<(), Error> {
/// let fence = enter_sql()?;
/// tx.batch_execute(fence.enter()).await?;
/// tx.batch_execute("UPDATE account SET balance = balance - 100 WHERE id = 7").await?;
/// tx.batch_execute(&fence.done()).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "without `done`, nothing is sent"]
pub struct EnteredSql {
    enter: String,
    key: FenceKey,
    open: OpenTransaction,
}

impl EnteredSql {
    /// Puts the fence row into the transaction. Outside of one it fails on PostgreSQL and MySQL; on SQLite it opens one,
    /// which [`done`](Self::done) commits, and which is to be rolled back after an error. A violated unique key: the call was
    /// cancelled meanwhile.
    pub fn enter(&self) -> &str {
        &self.enter
    }

    /// Says that the body is done. It fails in any other transaction; then return an `Err`. Ask for it when all of the
    /// body's work has succeeded, and execute it at once.
    pub fn done(self) -> String {
        let (_, stored) = self.open.running.close();
        let stored = stored.map(StagedHalves::from).unwrap_or_default();
        let write = self.open.is_done(stored.call_id());
        if write.is_some() {
            stored.left_to_the_caller();
        } else {
            stored.commit_refused();
        }
        let text = |fence: &dyn FenceDatabase| match &write {
            Some(write) => fence.done_statement(&self.key, write.decided),
            None => fence.not_done_statement(&self.key),
        };
        self.open.fence().map_or_else(String::new, text)
    }
}

fn outside(what: &str, call: &CallScope) -> Error {
    let text = format!(
        "`{what}` in `{}` was given a connection without an open transaction: open it with sqlx's `begin`, since a `BEGIN` \
         that is sent as text is not known to sqlx; or let the function have its own, with \
         `transactional_message::begin`",
        call.function()
    );
    Error::new(ErrorKind::Misuse, text).in_body()
}

fn explain(refusal: FenceRefusal, call: &CallScope) -> Error {
    let function = call.function();
    let error = match refusal {
        FenceRefusal::Fenced | FenceRefusal::AlreadyCommitted => Error::new(
            ErrorKind::Fenced,
            format!(
                "the call {} of `{function}` was cancelled by a check-back before it entered the transaction, or had \
                 entered one before: roll the transaction back, and try again",
                call.id()
            ),
        )
        .retryable(true),
        FenceRefusal::WrongDatabase => Error::new(
            ErrorKind::Misuse,
            format!("`enter` in `{function}` was given a transaction in another database than the messenger's fence"),
        ),
        FenceRefusal::Failed(cause @ StoreError::Schema(_)) => {
            let text = format!(
                "the database of the transaction that `enter` in `{function}` was given has no fence that it can use; is \
                 it one of those that went into `MessengerBuilder::fence`?"
            );
            Error::new(ErrorKind::Schema, text).with_source(cause)
        }
        FenceRefusal::Failed(cause) => {
            let text = format!("`enter` in `{function}` failed: roll the transaction back");
            Error::new(ErrorKind::Unavailable, text).with_source(cause)
        }
    };
    error.in_body()
}
