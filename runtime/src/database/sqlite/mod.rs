//! SQLite: one writer, WAL, `synchronous=FULL`; every write but a claim is one statement.
//!
//! A commit is durable when it returns. Writers of one file wait for each other: a body that holds
//! its transaction open for long holds up every other write to that file, the store's included.

mod by_hand;
mod control;
pub(super) mod errors;
mod fence;
mod inbox;
mod operate;
mod operations;
mod processes;
mod schema;
mod search;
mod session;
mod store;
mod write;

pub(crate) use fence::SqliteFence;
pub(super) use schema::{FENCE, INBOX, MESSAGE};
pub(crate) use store::SqliteStore;

use std::time::Duration;

use sqlx::{Sqlite, SqlitePool, Transaction};
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
