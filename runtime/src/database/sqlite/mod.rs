//! SQLite: one writer, WAL, `synchronous=FULL`; every write but a claim is one statement.
//!
//! A commit is durable when it returns. Writers of one file wait for each other: a body that holds
//! its transaction open for long holds up every other write to that file, the store's included.

pub(super) mod errors;
mod fence;
mod inbox;
mod operate;
mod row;
mod schema;
mod store;

pub(crate) use fence::SqliteFence;
pub(crate) use store::SqliteStore;

use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Connection, Executor, Sqlite, SqlitePool, Transaction};
use tokio::time::Instant;

use crate::store::StoreError;

/// Milliseconds since the Unix epoch, by the database's clock.
macro_rules! now {
    () => {
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    };
}
pub(crate) use now;

/// How long a write waits for other writers.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens a first connection. Switching a new file to WAL fails at once when somebody else does
/// the same, without the wait that other statements have.
async fn reach(pool: &SqlitePool) -> Result<(), StoreError> {
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

/// Writes as soon as nobody else does.
async fn patiently<T, Fut>(write: impl Fn() -> Fut) -> Result<T, StoreError>
where
    Fut: Future<Output = Result<T, sqlx::Error>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match write().await {
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            written => return Ok(written?),
        }
    }
}

/// Begins a transaction that writes. While it is open, nobody else writes, also if this process stands still.
async fn begin(writer: &SqlitePool) -> Result<Transaction<'static, Sqlite>, StoreError> {
    patiently(|| writer.begin_with("BEGIN IMMEDIATE")).await
}

fn is_busy(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(5)
}

fn primary_code(error: &sqlx::Error) -> Option<i64> {
    let code = error.as_database_error()?.code()?.parse::<i64>().ok()?;
    // Extended codes keep the primary one in their low byte.
    Some(code & 0xff)
}

/// A small pool of our own. Its connections stay open: an in-memory database lives as long as they.
/// One whose transaction SQLite has ended by itself, as it does on a full disk, is closed: sqlx
/// counts that transaction as open for ever.
fn pool(options: SqliteConnectOptions, connections: u32) -> SqlitePool {
    pool_of(connections).connect_lazy_with(options)
}

/// The same for one connection, which writes [`patiently`]. SQLite itself waits longer and longer for its turn,
/// until those who have just come are always first: here it waits shortly, and is asked again. Not in memory,
/// where without WAL reads and commits wait, too.
fn writer(options: SqliteConnectOptions) -> SqlitePool {
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
