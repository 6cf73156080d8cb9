//! A transaction that is open on a connection, and rolled back when it is dropped.
//!
//! sqlx's own `Transaction` can't be had with a first statement that may be refused: when what goes
//! along with `BEGIN` fails, sqlx 0.9 gives the connection back to its pool with an aborted
//! transaction on it. So this keeps the connection in its own hands, and does with sqlx's
//! `TransactionManager` what sqlx does: nested transactions and rollbacks stay sqlx's.

use std::fmt;
use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::{Connection, Database, Pool, SqlSafeStr};
use sqlx_core::transaction::TransactionManager;

use super::transaction::{Giver, TransactionDialect, WriteTurn};
use crate::store::StoreError;

/// What a transaction is open on.
pub(crate) enum ConnectionRef<'c, DB: Database> {
    /// A connection of a pool, which it goes back to at the end.
    Pool(PoolConnection<DB>),
    /// The same, and somebody else gives it back.
    Lent(&'c mut PoolConnection<DB>),
    Bare(&'c mut DB::Connection),
}

impl<DB: Database> ConnectionRef<'_, DB> {
    const fn giver(&self) -> Giver {
        match self {
            Self::Pool(_) => Giver::Transaction,
            Self::Lent(_) | Self::Bare(_) => Giver::Owner,
        }
    }

    const fn pooled(&mut self) -> Option<&mut PoolConnection<DB>> {
        match self {
            Self::Pool(connection) => Some(connection),
            Self::Lent(connection) => Some(connection),
            Self::Bare(_) => None,
        }
    }
}

/// An open transaction.
pub struct RawTransaction<'c, DB: TransactionDialect> {
    on: ConnectionRef<'c, DB>,
    /// The answer to its end is not there yet.
    ending: bool,
    /// Its end has given the session back what its begin had changed.
    restored: bool,
}

impl<'c, DB: TransactionDialect> RawTransaction<'c, DB> {
    /// Takes over a connection on which a transaction is, or will be, begun.
    pub(crate) const fn new(on: ConnectionRef<'c, DB>) -> Self {
        Self { on, ending: false, restored: false }
    }

    pub(crate) const fn giver(&self) -> Giver {
        self.on.giver()
    }

    /// From here until [`ended`](Self::ended), a pooled connection that is dropped is closed: sqlx may
    /// have lost track of what is still to be answered on it.
    pub(crate) const fn ends(&mut self) {
        self.ending = true;
    }

    /// The same for a statement that may be cut off, where sqlx loses track of that. Of a `BEGIN`, it knows only when the
    /// answer has come: it would give the connection to its next borrower with the transaction open.
    pub(crate) const fn may_be_cut_off(&mut self) {
        self.ending = DB::LOSES_TRACK;
    }

    pub(crate) const fn ended(&mut self) {
        self.ending = false;
    }

    /// It was ended by [`TransactionDialect::commit`], [`TransactionDialect::rollback`] or their like.
    pub(crate) const fn restored(&mut self) {
        self.restored = true;
    }

    /// Sends what is queued since the commit, where nobody else will for a while: a connection that does not go
    /// back to its pool would be left idle in a transaction, which servers end sessions for.
    pub(crate) async fn flush(&mut self) {
        if matches!(self.on, ConnectionRef::Pool(_)) {
            return;
        }
        // sqlx's MySQL driver does not note that it waits for this answer: dropped, it would be the next borrower's.
        self.ending = DB::CLOSED_WHEN_DROPPED;
        if let Err(error) = self.ping().await {
            tracing::debug!(%error, "a connection was lost after the commit on it");
        }
        self.ending = false;
    }

    /// Leaves the transaction open, for somebody else who has the connection.
    pub(crate) fn leave_open(self) {
        std::mem::forget(self);
    }

    pub(crate) async fn commit(mut self) -> Result<(), sqlx::Error> {
        DB::commit(&mut self).await?;
        self.restored();
        Ok(())
    }

    /// Rolls back now, so that the connection is clean for whoever gets it next.
    pub(crate) async fn rollback(mut self) -> Result<(), sqlx::Error> {
        // sqlx's worker of SQLite, too, loses count of a rollback whose answer nobody takes.
        self.ends();
        DB::before_rollback(&mut self).await;
        DB::rollback(&mut self).await?;
        self.ended();
        self.restored();
        Ok(())
    }
}

/// Begins a transaction with `statement`.
pub(crate) async fn begin<DB: TransactionDialect>(
    connection: &mut DB::Connection,
    statement: impl SqlSafeStr,
) -> Result<(), sqlx::Error> {
    DB::TransactionManager::begin(connection, Some(statement.into_sql_str())).await
}

/// Lets sqlx know that the open transaction has ended: by a `ROLLBACK`, which goes along with whatever is sent
/// next, and finds nothing to roll back, or an empty transaction that was begun for it.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) fn leave_ended<DB: TransactionDialect>(connection: &mut DB::Connection) {
    DB::TransactionManager::start_rollback(connection);
}

/// A connection of the user's pool that is fit for a transaction, and the turn to write.
pub(crate) async fn fit_connection<DB: TransactionDialect>(
    pool: &Pool<DB>,
) -> Result<(PoolConnection<DB>, WriteTurn), StoreError> {
    let mut connection = pool.acquire().await?;
    // Left behind by a transaction that was ended underneath and then dropped: sqlx counts it as
    // open forever, so the connection is of no use to anybody.
    while connection.is_in_transaction() {
        connection.close().await?;
        connection = pool.acquire().await?;
    }
    Ok((connection, DB::take_turn(pool).await?))
}

/// Begins an ordinary transaction on the user's pool.
pub(crate) async fn begin_on_pool<DB: TransactionDialect>(
    pool: &Pool<DB>,
) -> Result<(RawTransaction<'static, DB>, WriteTurn), StoreError> {
    let (connection, turn) = fit_connection(pool).await?;
    let mut tx = RawTransaction::new(ConnectionRef::Pool(connection));
    tx.may_be_cut_off();
    begin::<DB>(&mut tx, DB::begin_statement(None, Giver::Transaction)).await?;
    tx.ended();
    Ok((tx, turn))
}

impl<DB: TransactionDialect> Drop for RawTransaction<'_, DB> {
    fn drop(&mut self) {
        if self.is_in_transaction() {
            // Only queued; sent when the connection is used next, or goes back to its pool.
            DB::TransactionManager::start_rollback(self);
        }
        let unknown = DB::CLOSED_WHEN_DROPPED && !self.restored;
        if (self.ending || unknown)
            && let Some(connection) = self.on.pooled()
        {
            connection.close_on_drop();
        }
    }
}

impl<DB: TransactionDialect> Deref for RawTransaction<'_, DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        match &self.on {
            ConnectionRef::Pool(connection) => connection,
            ConnectionRef::Lent(connection) => connection,
            ConnectionRef::Bare(connection) => connection,
        }
    }
}

impl<DB: TransactionDialect> DerefMut for RawTransaction<'_, DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match &mut self.on {
            ConnectionRef::Pool(connection) => connection,
            ConnectionRef::Lent(connection) => connection,
            ConnectionRef::Bare(connection) => connection,
        }
    }
}

impl<DB: TransactionDialect> fmt::Debug for RawTransaction<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawTransaction").finish_non_exhaustive()
    }
}
