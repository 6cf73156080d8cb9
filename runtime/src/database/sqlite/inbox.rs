//! The inbox on SQLite.
//!
//! Its transactions write from the beginning: there is one at a time, and what is read in it is the newest.

use std::time::Duration;

use sqlx::SqliteConnection;

use super::fence::release;
use super::now;
use crate::database::millis;
use crate::fence::{InboxEntry, InboxKey, InboxQueue};
use crate::message::MessageId;
use crate::store::StoreError;

/// Records the message as this transaction's first statement.
pub(super) async fn enter(
    connection: &mut SqliteConnection,
    message: InboxKey<'_>,
) -> Result<InboxEntry, StoreError> {
    sqlx::query("SAVEPOINT tm_inbox").execute(&mut *connection).await?;
    let inserted: Option<i64> = sqlx::query_scalar(concat!(
        "INSERT INTO main.tm_inbox (queue, message_id, received_at) VALUES (?1, ?2, ",
        now!(),
        ") ON CONFLICT DO NOTHING RETURNING coalesce((SELECT up_to FROM main.tm_inbox_pruned WHERE queue = ?1), 0)"
    ))
    .bind(message.queue.name)
    .bind(message.id)
    .fetch_optional(connection)
    .await?;
    Ok(match inserted {
        None => InboxEntry::Known,
        Some(up_to) if up_to > message.made => InboxEntry::Forgotten,
        Some(_) => InboxEntry::New { session: 0 },
    })
}

/// Fails unless the record is in the transaction that is about to commit.
pub(super) async fn prove(
    connection: &mut SqliteConnection,
    message: InboxKey<'_>,
) -> Result<bool, StoreError> {
    release(connection, "RELEASE tm_inbox").await?;
    if is_there(connection, message).await? {
        Ok(true)
    } else {
        Err(StoreError::Refused("the inbox row is gone from the transaction".into()))
    }
}

async fn is_there(connection: &mut SqliteConnection, message: InboxKey<'_>) -> Result<bool, StoreError> {
    let select = "SELECT EXISTS (SELECT 1 FROM main.tm_inbox WHERE queue = ?1 AND message_id = ?2)";
    Ok(sqlx::query_scalar(select).bind(message.queue.name).bind(message.id).fetch_one(connection).await?)
}

/// Forgets the queue's messages that were received and made longer than `age` ago, at most `limit` of them, and notes
/// up to when. Ids that do not begin with their time are forgotten by the other one alone.
pub(super) async fn prune(
    connection: &mut SqliteConnection,
    queue: InboxQueue<'_>,
    age: Duration,
    limit: u32,
) -> Result<u64, StoreError> {
    let off: i64 = sqlx::query_scalar(concat!("SELECT max(", now!(), " - ?1, 0)"))
        .bind(millis(age))
        .fetch_one(&mut *connection)
        .await?;
    let delete = "DELETE FROM main.tm_inbox WHERE queue = ?1 AND message_id IN (SELECT message_id FROM main.tm_inbox \
                  WHERE queue = ?1 AND received_at < ?2 AND (substr(hex(message_id), 13, 1) <> '7' OR \
                  substr(hex(message_id), 1, 12) < printf('%012X', ?2)) ORDER BY received_at LIMIT ?3)";
    let pruned = sqlx::query(delete)
        .bind(queue.name)
        .bind(off)
        .bind(i64::from(limit))
        .execute(&mut *connection)
        .await?;
    if pruned.rows_affected() > 0 {
        let note = "INSERT INTO main.tm_inbox_pruned (queue, up_to) VALUES (?1, ?2) \
                    ON CONFLICT (queue) DO UPDATE SET up_to = max(up_to, excluded.up_to)";
        sqlx::query(note).bind(queue.name).bind(off).execute(&mut *connection).await?;
    }
    let entered = "DELETE FROM main.tm_inbox_entered WHERE queue = ?1 AND entered_at < ?2";
    sqlx::query(entered).bind(queue.name).bind(off).execute(connection).await?;
    Ok(pruned.rows_affected())
}

/// How often each message was entered alone, and no end of that is known.
pub(super) async fn entries(
    connection: &mut SqliteConnection,
    queue: InboxQueue<'_>,
) -> Result<Vec<(MessageId, i64)>, StoreError> {
    let select = "SELECT message_id, entries FROM main.tm_inbox_entered WHERE queue = ?1";
    Ok(sqlx::query_as(select).bind(queue.name).fetch_all(connection).await?)
}

/// Notes that a message is about to be handled alone. `false`: its effect has happened. While somebody is handling
/// it, there is no transaction to do this in.
pub(super) async fn enter_alone(
    connection: &mut SqliteConnection,
    message: InboxKey<'_>,
) -> Result<bool, StoreError> {
    if is_there(connection, message).await? {
        return Ok(false);
    }
    let note = concat!(
        "INSERT INTO main.tm_inbox_entered (queue, message_id, entries, entered_at) VALUES (?1, ?2, 1, ",
        now!(),
        ") ON CONFLICT (queue, message_id) DO UPDATE SET entries = entries + 1, entered_at = excluded.entered_at"
    );
    sqlx::query(note).bind(message.queue.name).bind(message.id).execute(connection).await?;
    Ok(true)
}

/// Takes the last such note back, or all of a message.
pub(super) async fn leave_alone(
    connection: &mut SqliteConnection,
    message: InboxKey<'_>,
    all: bool,
) -> Result<(), StoreError> {
    let update =
        "UPDATE main.tm_inbox_entered SET entries = entries - 1 WHERE queue = ?1 AND message_id = ?2";
    sqlx::query(update).bind(message.queue.name).bind(message.id).execute(&mut *connection).await?;
    let delete =
        "DELETE FROM main.tm_inbox_entered WHERE queue = ?1 AND message_id = ?2 AND (entries <= 0 OR ?3)";
    sqlx::query(delete).bind(message.queue.name).bind(message.id).bind(all).execute(connection).await?;
    Ok(())
}
