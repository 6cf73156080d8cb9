//! How a transaction is opened and ended on a connection of the application.

use futures_util::future::BoxFuture;
use sqlx::{Database, Pool};
use sqlx_core::transaction::TransactionManager;
use tokio::sync::OwnedMutexGuard;

use crate::store::StoreError;

/// Who gives a transaction's connection back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Giver {
    /// The transaction itself, to the pool. It can have the connection closed instead, so it may change the
    /// session: [`TransactionDialect::commit`] and [`TransactionDialect::rollback`] undo that, and after every
    /// other end the session is gone.
    Transaction,
    /// Its owner, who may go on using it.
    Owner,
}

/// What is special about a database's transactions.
pub trait TransactionDialect: Database {
    /// Whether a second transaction would wait for the first one of the same task.
    const WAITS_FOR_ITSELF: bool;

    /// Whether sqlx may lose track of what is still to be answered on a connection, when a future is dropped that was
    /// waiting for an answer. Such a connection is closed.
    const LOSES_TRACK: bool = true;

    /// Whether a pooled connection is closed when its transaction is only dropped. Its session may be changed (see
    /// [`Giver`]); and sqlx's MySQL driver loses track when it is dropped in the middle of preparing a statement: whoever
    /// got the connection next would get other statements' answers.
    const CLOSED_WHEN_DROPPED: bool = false;

    /// Opens a transaction.
    fn begin_statement(isolation: Option<Isolation>, giver: Giver) -> &'static str;

    /// Commits the open transaction, and gives its session back what `begin` has changed.
    fn commit(connection: &mut Self::Connection) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(Self::TransactionManager::commit(connection))
    }

    /// Rolls back the open transaction, and gives its session back what `begin` has changed.
    fn rollback(connection: &mut Self::Connection) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(Self::TransactionManager::rollback(connection))
    }

    /// Waits until a transaction on this pool may write, where a database has one writer only.
    fn take_turn(pool: &Pool<Self>) -> BoxFuture<'_, Result<WriteTurn, StoreError>> {
        let _ = pool;
        Box::pin(std::future::ready(Ok(WriteTurn::default())))
    }

    /// Makes a rollback work also when the transaction was ended underneath: then there is none to
    /// roll back, sqlx counts it as open all the same, and the connection would go back to its
    /// pool like that.
    fn before_rollback(connection: &mut Self::Connection) -> BoxFuture<'_, ()> {
        let _ = connection;
        Box::pin(std::future::ready(()))
    }
}

/// What other transactions a transaction sees. See [`Begin::isolation`](crate::Begin::isolation).
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

/// The right to write, where a database has one writer only; given back when it is dropped.
#[derive(Debug, Default)]
pub struct WriteTurn(#[expect(dead_code, reason = "held, not read")] Option<OwnedMutexGuard<()>>);

impl WriteTurn {
    #[cfg(feature = "sqlite")]
    pub(crate) const fn of(turn: OwnedMutexGuard<()>) -> Self {
        Self(Some(turn))
    }
}
