//! A transaction that is open on a connection, and rolled back when it is dropped.
//!
//! sqlx's own `Transaction` can't be had with a first statement that may be refused: when what goes
//! along with `BEGIN` fails, sqlx 0.9 gives the connection back to its pool with an aborted
//! transaction on it. So this keeps the connection in its own hands, and does with sqlx's
//! `TransactionManager` what sqlx does: nested transactions and rollbacks stay sqlx's.

use std::fmt;
use std::ops::{Deref, DerefMut};

use sqlx::pool::MaybePoolConnection;
use sqlx::{Connection, SqlSafeStr};
use sqlx_core::transaction::TransactionManager;

use super::BusinessDatabase;

/// An open transaction.
pub struct HeldTransaction<'c, DB: BusinessDatabase> {
    connection: MaybePoolConnection<'c, DB>,
}

impl<'c, DB: BusinessDatabase> HeldTransaction<'c, DB> {
    /// Takes over a connection on which a transaction is, or will be, begun.
    pub(super) fn new(connection: impl Into<MaybePoolConnection<'c, DB>>) -> Self {
        Self { connection: connection.into() }
    }

    pub(crate) async fn commit(mut self) -> Result<(), sqlx::Error> {
        DB::TransactionManager::commit(&mut self.connection).await
    }

    /// Rolls back now, so that the connection is clean for whoever gets it next.
    pub(crate) async fn rollback(mut self) -> Result<(), sqlx::Error> {
        DB::before_rollback(&mut self.connection).await;
        DB::TransactionManager::rollback(&mut self.connection).await
    }
}

/// Begins a transaction with `statement`.
pub(crate) async fn begin<DB: BusinessDatabase>(
    connection: &mut DB::Connection,
    statement: impl SqlSafeStr,
) -> Result<(), sqlx::Error> {
    DB::TransactionManager::begin(connection, Some(statement.into_sql_str())).await
}

/// Lets sqlx know that the open transaction has ended, and another, empty one has begun, as by
/// `COMMIT AND CHAIN`: that one is rolled back with whatever is sent next.
#[cfg(feature = "postgres")]
pub(crate) fn leave_chained<DB: BusinessDatabase>(connection: &mut DB::Connection) {
    DB::TransactionManager::start_rollback(connection);
}

/// Commits the open transaction.
pub(crate) async fn commit<DB: BusinessDatabase>(connection: &mut DB::Connection) -> Result<(), sqlx::Error> {
    DB::TransactionManager::commit(connection).await
}

impl<DB: BusinessDatabase> Drop for HeldTransaction<'_, DB> {
    fn drop(&mut self) {
        if self.connection.is_in_transaction() {
            // Only queued; sent when the connection is used next, or goes back to its pool.
            DB::TransactionManager::start_rollback(&mut self.connection);
        }
    }
}

impl<DB: BusinessDatabase> Deref for HeldTransaction<'_, DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl<DB: BusinessDatabase> DerefMut for HeldTransaction<'_, DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.connection
    }
}

impl<DB: BusinessDatabase> fmt::Debug for HeldTransaction<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldTransaction").finish_non_exhaustive()
    }
}
