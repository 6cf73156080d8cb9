//! The inbox on MySQL.

use std::time::Duration;

use sqlx::{MySqlConnection, MySqlPool};

use super::fence::{is_changed, is_duplicate, release};
use super::now;
use crate::database::millis;
use crate::fence::begin_on_pool;
use crate::message::MessageId;
use crate::store::StoreError;

/// Records the message as this transaction's first statement. `false`: its effect has happened.
pub(super) async fn enter(
    connection: &mut MySqlConnection,
    queue: &str,
    message_id: MessageId,
) -> Result<bool, StoreError> {
    sqlx::raw_sql("SAVEPOINT tm_inbox").execute(&mut *connection).await?;
    let inserted = sqlx::query(concat!(
        "INSERT INTO tm_inbox (queue, message_id, received_at) VALUES (?, ?, ",
        now!(),
        ")"
    ))
    .bind(queue.as_bytes())
    .bind(message_id)
    .execute(&mut *connection)
    .await;
    match inserted {
        Ok(_) => Ok(true),
        Err(error) if is_duplicate(&error) => Ok(false),
        // The transaction is rolled back, and sees what is there now.
        Err(error) if is_changed(&error) && is_there(connection, queue, message_id).await? => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn is_there(
    connection: &mut MySqlConnection,
    queue: &str,
    message_id: MessageId,
) -> Result<bool, sqlx::Error> {
    let select = sqlx::query("SELECT 1 FROM tm_inbox WHERE queue = ? AND message_id = ?");
    Ok(select.bind(queue.as_bytes()).bind(message_id).fetch_optional(connection).await?.is_some())
}

/// Fails unless the record is in the transaction that is about to commit.
pub(super) async fn prove(
    connection: &mut MySqlConnection,
    queue: &str,
    message_id: MessageId,
) -> Result<(), StoreError> {
    release(connection, "RELEASE SAVEPOINT tm_inbox").await?;
    if is_there(connection, queue, message_id).await? {
        return Ok(());
    }
    Err(StoreError::Refused("the inbox row is gone from the transaction".into()))
}

/// Forgets the queue's messages received longer than `age` ago, at most `limit` of them. In a transaction: the
/// sessions of the user's pool may commit nothing by themselves.
pub(super) async fn prune(
    pool: &MySqlPool,
    queue: &str,
    age: Duration,
    limit: u32,
) -> Result<u64, StoreError> {
    let (mut tx, _turn) = begin_on_pool(pool).await?;
    let pruned = sqlx::query(concat!(
        "DELETE FROM tm_inbox WHERE queue = ? AND received_at < ",
        now!(),
        " - ? ORDER BY received_at LIMIT ?"
    ))
    .bind(queue.as_bytes())
    .bind(millis(age))
    .bind(i64::from(limit))
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(pruned.rows_affected())
}
