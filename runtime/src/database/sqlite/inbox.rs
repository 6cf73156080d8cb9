//! The inbox on SQLite.

use std::time::Duration;

use sqlx::{SqliteConnection, SqlitePool};

use super::fence::release;
use super::now;
use crate::database::millis;
use crate::message::MessageId;
use crate::store::StoreError;

/// Records the message as this transaction's first statement. `false`: its effect has happened.
pub(super) async fn enter(
    connection: &mut SqliteConnection,
    queue: &str,
    message_id: MessageId,
) -> Result<bool, StoreError> {
    sqlx::query("SAVEPOINT tm_inbox").execute(&mut *connection).await?;
    let inserted = sqlx::query(concat!(
        "INSERT INTO main.tm_inbox (queue, message_id, received_at) VALUES (?1, ?2, ",
        now!(),
        ") ON CONFLICT DO NOTHING"
    ))
    .bind(queue)
    .bind(message_id)
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Fails unless the record is in the transaction that is about to commit.
pub(super) async fn prove(
    connection: &mut SqliteConnection,
    queue: &str,
    message_id: MessageId,
) -> Result<(), StoreError> {
    release(connection, "RELEASE tm_inbox").await?;
    let there: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM main.tm_inbox WHERE queue = ?1 AND message_id = ?2)",
    )
    .bind(queue)
    .bind(message_id)
    .fetch_one(connection)
    .await?;
    if there { Ok(()) } else { Err(StoreError::Refused("the inbox row is gone from the transaction".into())) }
}

/// Forgets the queue's messages received longer than `age` ago, at most `limit` of them.
pub(super) async fn prune(
    pool: &SqlitePool,
    queue: &str,
    age: Duration,
    limit: u32,
) -> Result<u64, StoreError> {
    let pruned = sqlx::query(concat!(
        "DELETE FROM main.tm_inbox WHERE queue = ?1 AND message_id IN (SELECT message_id FROM main.tm_inbox ",
        "WHERE queue = ?1 AND received_at < ",
        now!(),
        " - ?2 ORDER BY received_at LIMIT ?3)"
    ))
    .bind(queue)
    .bind(millis(age))
    .bind(i64::from(limit))
    .execute(pool)
    .await?;
    Ok(pruned.rows_affected())
}
