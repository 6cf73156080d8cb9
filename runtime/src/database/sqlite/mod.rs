//! SQLite: one writer, WAL, `synchronous=FULL`.
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

use sqlx::error::DatabaseError;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Connection, SqlitePool};
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

fn is_busy(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(DatabaseError::code).as_deref() == Some("5")
}

/// A small pool of our own. Its connections stay open: an in-memory database lives as long as they.
/// One whose transaction SQLite has ended by itself, as it does on a full disk, is closed: sqlx
/// counts that transaction as open for ever.
fn pool(options: SqliteConnectOptions, connections: u32) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(5))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_release(|connection, _| Box::pin(std::future::ready(Ok(!connection.is_in_transaction()))))
        .connect_lazy_with(options)
}
