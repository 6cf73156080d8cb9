//! What a database must be able to do to hold business data that messages depend on.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::{Connection, Database, Pool};
use tokio::sync::OwnedMutexGuard;

use super::held::{self, Giver, HeldTransaction, On, Unsettled};
use super::verdict::FenceRow;
use crate::database::namespace::Namespace;
use crate::message::MessageId;
use crate::protocol::scope::{FenceKey, Staged};
use crate::store::StoreError;

/// A database whose transactions can be fenced, and can hold an inbox.
///
/// Implemented by the databases whose feature is on; not meant to be implemented elsewhere, and
/// not stable.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a database that transactional-message knows",
    note = "turn its feature on: `sqlite`, `postgres` or `mysql`"
)]
pub trait BusinessDatabase: Database {
    /// Whether a second transaction would wait for the first one of the same task.
    #[doc(hidden)]
    const WAITS_FOR_ITSELF: bool;

    /// Whether sqlx may lose track of what is still to be answered on a connection, when a future is dropped that was
    /// waiting for an answer. Such a connection is closed.
    #[doc(hidden)]
    const LOSES_TRACK: bool = true;

    /// Whether a transaction changes its session where it may: see [`Giver`].
    #[doc(hidden)]
    const CHANGES_SESSION: bool = false;

    /// Opens a transaction.
    #[doc(hidden)]
    fn begin_statement(isolation: Option<Isolation>, giver: Giver) -> &'static str;

    /// Commits the open transaction, and gives its session back what `begin` has changed.
    #[doc(hidden)]
    fn commit(connection: &mut Self::Connection) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(held::commit::<Self>(connection))
    }

    /// Rolls back the open transaction, and gives its session back what `begin` has changed.
    #[doc(hidden)]
    fn rollback(connection: &mut Self::Connection) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(held::rollback::<Self>(connection))
    }

    /// Waits until a transaction on this pool may write, where a database has one writer only.
    #[doc(hidden)]
    fn take_turn(pool: &Pool<Self>) -> BoxFuture<'_, Result<WriteTurn, StoreError>> {
        let _ = pool;
        Box::pin(std::future::ready(Ok(WriteTurn::default())))
    }

    /// Makes a rollback work also when the transaction was ended underneath: then there is none to
    /// roll back, sqlx counts it as open all the same, and the connection would go back to its
    /// pool like that.
    #[doc(hidden)]
    fn before_rollback(connection: &mut Self::Connection) -> BoxFuture<'_, ()> {
        let _ = connection;
        Box::pin(std::future::ready(()))
    }

    /// Begins a transaction with the fence row in it. On an error, a transaction that sqlx counts as
    /// open is the caller's to roll back.
    #[doc(hidden)]
    fn begin_fenced(
        connection: &mut Self::Connection,
        isolation: Option<Isolation>,
        giver: Giver,
        fence: FenceKey,
    ) -> BoxFuture<'_, Result<(), FenceRefusal>>;

    /// Proves that the fence row is part of the open transaction, writes what was staged, and commits as
    /// [`commit`](Self::commit) does.
    #[doc(hidden)]
    fn commit_fenced(
        connection: &mut Self::Connection,
        fence: FenceKey,
        staged: Staged,
    ) -> BoxFuture<'_, Result<(), CommitFailure>>;

    /// Creates or updates the inbox; says where it is. That is `schema`, if it is given.
    #[doc(hidden)]
    fn migrate_inbox<'p>(
        pool: &'p Pool<Self>,
        schema: Option<&'p str>,
    ) -> BoxFuture<'p, Result<Namespace, StoreError>>;

    /// Checks the inbox; says where it is.
    #[doc(hidden)]
    fn check_inbox<'p>(
        pool: &'p Pool<Self>,
        schema: Option<&'p str>,
    ) -> BoxFuture<'p, Result<Namespace, StoreError>>;

    /// Records a message as the transaction's first statement.
    #[doc(hidden)]
    fn enter_inbox<'c>(
        connection: &'c mut Self::Connection,
        message: InboxKey<'c>,
    ) -> BoxFuture<'c, Result<InboxEntry, StoreError>>;

    /// Proves that the record is part of the open transaction. `false`: a record of the message may have been
    /// pruned, which only now could be seen.
    #[doc(hidden)]
    fn prove_inbox<'c>(
        connection: &'c mut Self::Connection,
        message: InboxKey<'c>,
    ) -> BoxFuture<'c, Result<bool, StoreError>>;

    /// In a transaction: forgets messages that were received and made longer than `age` ago, at most `limit`, and
    /// notes up to when.
    #[doc(hidden)]
    fn prune_inbox<'c>(
        connection: &'c mut Self::Connection,
        queue: InboxQueue<'c>,
        age: Duration,
        limit: u32,
    ) -> BoxFuture<'c, Result<u64, StoreError>>;

    /// How often each message was entered alone, and no end of that is known.
    #[doc(hidden)]
    fn entries<'c>(
        connection: &'c mut Self::Connection,
        queue: InboxQueue<'c>,
    ) -> BoxFuture<'c, Result<Vec<(MessageId, i64)>, StoreError>>;

    /// In a transaction: notes that a message is about to be handled alone. `false`: its effect has happened. Fails
    /// soon when somebody is handling it.
    #[doc(hidden)]
    fn enter_alone<'c>(
        connection: &'c mut Self::Connection,
        message: InboxKey<'c>,
    ) -> BoxFuture<'c, Result<bool, StoreError>>;

    /// In a transaction: takes the last such note back, or all of a message.
    #[doc(hidden)]
    fn leave_alone<'c>(
        connection: &'c mut Self::Connection,
        message: InboxKey<'c>,
        all: bool,
    ) -> BoxFuture<'c, Result<(), StoreError>>;

    /// Ends a session that still works for a transaction whose client has left.
    #[doc(hidden)]
    fn end_session(pool: &Pool<Self>, session: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        let _ = (pool, session);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A queue, and where its inbox is.
#[derive(Clone, Copy, Debug)]
pub struct InboxQueue<'k> {
    #[cfg_attr(
        not(any(feature = "postgres", feature = "mysql")),
        expect(dead_code, reason = "a SQLite file has no schemas")
    )]
    pub(crate) namespace: &'k Namespace,
    pub(crate) name: &'k str,
}

/// A message, as a queue's inbox has it.
#[derive(Clone, Copy, Debug)]
pub struct InboxKey<'k> {
    pub(crate) queue: InboxQueue<'k>,
    pub(crate) id: MessageId,
    /// When it was made, in milliseconds since 1970; far in the future if its id does not say.
    pub(crate) made: i64,
}

/// What the inbox says of a message that is about to be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboxEntry {
    /// It is recorded now. With the number by which others can end this session.
    New { session: i64 },
    /// Its effect has happened.
    Known,
    /// It is not recorded, and older than what was pruned: its effect may have happened.
    Forgotten,
}

/// What other transactions a transaction sees. See [`Begin::isolation`](super::Begin::isolation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isolation {
    /// Each statement sees what was committed before it.
    ReadCommitted,
    /// All statements see the same.
    RepeatableRead,
    /// As if transactions ran one after the other.
    Serializable,
}

/// A connection of the user's pool that is fit for a transaction, and the turn to write.
pub(crate) async fn fit_connection<DB: BusinessDatabase>(
    pool: &Pool<DB>,
) -> Result<(PoolConnection<DB>, WriteTurn), StoreError> {
    let mut connection = pool.acquire().await?;
    // Left behind by a transaction that was ended underneath and then dropped: sqlx counts it as
    // open for ever, so the connection is of no use to anybody.
    while connection.is_in_transaction() {
        connection.close().await?;
        connection = pool.acquire().await?;
    }
    Ok((connection, DB::take_turn(pool).await?))
}

/// Begins an ordinary transaction on the user's pool.
pub(crate) async fn begin_on_pool<DB: BusinessDatabase>(
    pool: &Pool<DB>,
) -> Result<(HeldTransaction<'static, DB>, WriteTurn), StoreError> {
    let (mut connection, turn) = fit_connection(pool).await?;
    let mut unsettled = Unsettled::new(&mut connection);
    let begin = DB::begin_statement(None, Giver::Transaction);
    held::begin::<DB>(unsettled.connection(), begin).await?;
    unsettled.settle();
    Ok((HeldTransaction::new(On::Pool(connection)), turn))
}

/// The right to write, where a database has one writer only; given back when it is dropped.
#[derive(Debug, Default)]
pub struct WriteTurn(#[expect(dead_code, reason = "held, not read")] Option<OwnedMutexGuard<()>>);

impl WriteTurn {
    #[cfg(feature = "sqlite")]
    pub(crate) const fn of(turn: OwnedMutexGuard<()>) -> Self {
        Self(Some(turn))
    }
}

/// Why there is no fenced transaction.
#[derive(Debug)]
pub enum FenceRefusal {
    /// A tombstone is there: the call was cancelled.
    Fenced,
    /// The call's transaction has committed.
    AlreadyCommitted,
    /// The database is not the one that the half message belongs to.
    WrongDatabase,
    /// The database failed.
    Failed(StoreError),
}

impl FenceRefusal {
    /// What the row says that is there instead of ours.
    pub(crate) fn of_row(outcome: Option<i64>) -> Self {
        match outcome {
            None => Self::WrongDatabase,
            Some(code) if code == FenceRow::Tombstone.code() => Self::Fenced,
            Some(_) => Self::AlreadyCommitted,
        }
    }
}

/// Why a fenced transaction did not commit, as far as anybody knows.
#[derive(Debug)]
pub enum CommitFailure {
    /// It did not: the fence is not in place.
    Unproven(StoreError),
    /// It did not: the database rolled it back, as after a conflict with another transaction.
    RolledBack(sqlx::Error),
    /// It may have.
    Unclear(sqlx::Error),
}
