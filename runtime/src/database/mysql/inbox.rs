//! The inbox on MySQL.

use std::time::Duration;

use sqlx::{MySqlConnection, MySqlPool};

use super::fence::{is_duplicate, release};
use super::now;
use crate::database::literal::fill_at;
use crate::database::millis;
use crate::database::namespace::Namespace;
use crate::fence::begin_on_pool;
use crate::message::MessageId;
use crate::store::StoreError;

/// Records the message as this transaction's first statement. `false`: its effect has happened.
pub(super) async fn enter(
    connection: &mut MySqlConnection,
    namespace: &Namespace,
    queue: &str,
    message_id: MessageId,
) -> Result<bool, StoreError> {
    sqlx::raw_sql("SAVEPOINT tm_inbox").execute(&mut *connection).await?;
    let insert =
        concat!("INSERT INTO $0.tm_inbox (queue, message_id, received_at) VALUES (?, ?, ", now!(), ")");
    let inserted = sqlx::query(fill_at(namespace, insert, &[]))
        .bind(queue.as_bytes())
        .bind(message_id)
        .execute(connection)
        .await;
    match inserted {
        Ok(_) => Ok(true),
        Err(error) if is_duplicate(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Fails unless the record is in the transaction that is about to commit.
pub(super) async fn prove(
    connection: &mut MySqlConnection,
    namespace: &Namespace,
    queue: &str,
    message_id: MessageId,
) -> Result<(), StoreError> {
    release(connection, "RELEASE SAVEPOINT tm_inbox").await?;
    let select = "SELECT 1 FROM $0.tm_inbox WHERE queue = ? AND message_id = ?";
    let rows = sqlx::query(fill_at(namespace, select, &[]))
        .bind(queue.as_bytes())
        .bind(message_id)
        .fetch_all(connection)
        .await?;
    match rows.len() {
        1 => Ok(()),
        _ => Err(StoreError::Refused("the inbox row is gone from the transaction".into())),
    }
}

/// Forgets the queue's messages received longer than `age` ago, at most `limit` of them. In a transaction: the
/// sessions of the user's pool may commit nothing by themselves.
pub(super) async fn prune(
    pool: &MySqlPool,
    namespace: &Namespace,
    queue: &str,
    age: Duration,
    limit: u32,
) -> Result<u64, StoreError> {
    let (mut tx, _turn) = begin_on_pool(pool).await?;
    let delete = concat!(
        "DELETE FROM $0.tm_inbox WHERE queue = ? AND received_at < ",
        now!(),
        " - ? ORDER BY received_at LIMIT ?"
    );
    let pruned = sqlx::query(fill_at(namespace, delete, &[]))
        .bind(queue.as_bytes())
        .bind(millis(age))
        .bind(i64::from(limit))
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(pruned.rows_affected())
}
