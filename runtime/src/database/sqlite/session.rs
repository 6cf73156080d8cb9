//! Our own connections to SQLite.

use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Connection, Executor, SqlitePool};
use tokio::time::Instant;

use super::{PATIENCE, is_busy};
use crate::store::StoreError;

/// Opens a first connection. Switching a new file to WAL fails at once when somebody else does
/// the same, without the wait that other statements have.
pub(super) async fn reach(pool: &SqlitePool) -> Result<(), StoreError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match pool.acquire().await {
            Ok(_) => return Ok(()),
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A small pool of our own. Its connections stay open: an in-memory database lives as long as they.
/// One whose transaction SQLite has ended by itself, as it does on a full disk, is closed: sqlx
/// counts that transaction as open forever.
pub(super) fn pool(options: SqliteConnectOptions, connections: u32) -> SqlitePool {
    pool_of(connections).connect_lazy_with(options)
}

/// The same for one connection, which writes [`patiently`](super::patiently). SQLite itself waits longer and longer for its turn,
/// until those who have just come are always first: here it waits shortly, and is asked again. Not in memory,
/// where without WAL reads and commits wait, too.
pub(super) fn writer(options: SqliteConnectOptions) -> SqlitePool {
    pool_of(1)
        .after_connect(|connection, _| {
            Box::pin(async move {
                let mode: String =
                    sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await?;
                if mode == "wal" {
                    connection.execute("PRAGMA busy_timeout = 2").await?;
                }
                Ok(())
            })
        })
        .connect_lazy_with(options)
}

fn pool_of(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(5))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_release(|connection, _| Box::pin(std::future::ready(Ok(!connection.is_in_transaction()))))
}
