//! The inbox on MySQL.

use std::time::Duration;

use sqlx::{MySqlConnection, MySqlPool, Row};

use super::fence::{is_duplicate, release};
use super::{decoded, now};
use crate::database::literal::{Literal, fill};
use crate::database::millis;
use crate::fence::{InboxEntry, InboxKey};
use crate::message::MessageId;
use crate::store::StoreError;

/// Records the message as this transaction's first statement.
///
/// Reads nothing: what the handler reads is as old as the transaction's first read, and should be as young as without
/// an inbox. So what was pruned is looked at by [`prove`].
pub(super) async fn enter(
    connection: &mut MySqlConnection,
    message: InboxKey<'_>,
) -> Result<InboxEntry, StoreError> {
    let enter = fill(
        concat!(
            "SAVEPOINT tm_inbox; INSERT INTO tm_inbox (queue, message_id, received_at) VALUES ($1, $2, ",
            now!(),
            "); SELECT CAST(CONNECTION_ID() AS SIGNED)"
        ),
        &[Literal::Bytes(message.queue.as_bytes()), Literal::Binary(message.id)],
    );
    match sqlx::raw_sql(enter).fetch_all(connection).await {
        Ok(rows) => {
            let session = rows.first().map(|row| row.try_get(0)).transpose()?;
            Ok(InboxEntry::New { session: session.unwrap_or_default() })
        }
        Err(error) if is_duplicate(&error) => Ok(InboxEntry::Known),
        Err(error) => Err(error.into()),
    }
}

/// Fails unless the record is in the transaction that is about to commit. `false`: it could be written because an
/// older one was pruned; then the transaction sees up to when.
pub(super) async fn prove(
    connection: &mut MySqlConnection,
    message: InboxKey<'_>,
) -> Result<bool, StoreError> {
    release(connection, "RELEASE SAVEPOINT tm_inbox").await?;
    let select = "SELECT COALESCE((SELECT up_to FROM tm_inbox_pruned WHERE queue = ?), 0) FROM tm_inbox \
                  WHERE queue = ? AND message_id = ?";
    let up_to: Option<i64> = sqlx::query_scalar(select)
        .bind(message.queue.as_bytes())
        .bind(message.queue.as_bytes())
        .bind(message.id)
        .fetch_optional(connection)
        .await?;
    match up_to {
        Some(up_to) => Ok(up_to <= message.made),
        None => Err(StoreError::Refused("the inbox row is gone from the transaction".into())),
    }
}

/// Forgets the queue's messages that were received and made longer than `age` ago, at most `limit` of them, and notes
/// up to when. Ids that do not begin with their time are forgotten by the other one alone.
pub(super) async fn prune(
    connection: &mut MySqlConnection,
    queue: &str,
    age: Duration,
    limit: u32,
) -> Result<u64, StoreError> {
    let off: i64 = sqlx::query_scalar(concat!("SELECT CAST(GREATEST(", now!(), " - ?, 0) AS SIGNED)"))
        .bind(millis(age))
        .fetch_one(&mut *connection)
        .await?;
    let delete = "DELETE FROM tm_inbox WHERE queue = ? AND received_at < ? AND (SUBSTR(HEX(message_id), 13, 1) <> '7' OR \
                  LEFT(HEX(message_id), 12) < LPAD(HEX(?), 12, '0')) ORDER BY received_at LIMIT ?";
    let pruned = sqlx::query(delete)
        .bind(queue.as_bytes())
        .bind(off)
        .bind(off)
        .bind(i64::from(limit))
        .execute(&mut *connection)
        .await?;
    if pruned.rows_affected() > 0 {
        let note = "INSERT INTO tm_inbox_pruned (queue, up_to) VALUES (?, ?) \
                    ON DUPLICATE KEY UPDATE up_to = GREATEST(up_to, VALUES(up_to))";
        sqlx::query(note).bind(queue.as_bytes()).bind(off).execute(&mut *connection).await?;
    }
    let entered = "DELETE FROM tm_inbox_entered WHERE queue = ? AND entered_at < ?";
    sqlx::query(entered).bind(queue.as_bytes()).bind(off).execute(connection).await?;
    Ok(pruned.rows_affected())
}

/// How often each message was entered alone, and no end of that is known.
pub(super) async fn entries(
    connection: &mut MySqlConnection,
    queue: &str,
) -> Result<Vec<(MessageId, i64)>, StoreError> {
    let select = "SELECT message_id, entries FROM tm_inbox_entered WHERE queue = ?";
    Ok(decoded(&sqlx::query(select).bind(queue.as_bytes()).fetch_all(connection).await?)?)
}

/// Notes that a message is about to be handled alone. `false`: its effect has happened. Fails at once when somebody
/// is handling it, who has its record locked.
pub(super) async fn enter_alone(
    connection: &mut MySqlConnection,
    message: InboxKey<'_>,
) -> Result<bool, StoreError> {
    let probe = "SELECT 1 FROM tm_inbox WHERE queue = ? AND message_id = ? FOR UPDATE NOWAIT";
    let probe = sqlx::query(probe).bind(message.queue.as_bytes()).bind(message.id);
    if probe.fetch_optional(&mut *connection).await?.is_some() {
        return Ok(false);
    }
    let note = concat!(
        "INSERT INTO tm_inbox_entered (queue, message_id, entries, entered_at) VALUES (?, ?, 1, ",
        now!(),
        ") ON DUPLICATE KEY UPDATE entries = entries + 1, entered_at = VALUES(entered_at)"
    );
    sqlx::query(note).bind(message.queue.as_bytes()).bind(message.id).execute(connection).await?;
    Ok(true)
}

/// Takes the last such note back, or all of a message.
pub(super) async fn leave_alone(
    connection: &mut MySqlConnection,
    message: InboxKey<'_>,
    all: bool,
) -> Result<(), StoreError> {
    let update = "UPDATE tm_inbox_entered SET entries = entries - 1 WHERE queue = ? AND message_id = ?";
    let update = sqlx::query(update).bind(message.queue.as_bytes()).bind(message.id);
    update.execute(&mut *connection).await?;
    let delete = "DELETE FROM tm_inbox_entered WHERE queue = ? AND message_id = ? AND (entries <= 0 OR ?)";
    let delete = sqlx::query(delete).bind(message.queue.as_bytes()).bind(message.id).bind(all);
    delete.execute(connection).await?;
    Ok(())
}

/// Ends a session whose client has left in the middle of a statement: MySQL notices that only when the statement is
/// done.
pub(super) async fn end_session(pool: &MySqlPool, session: i64) -> Result<(), StoreError> {
    let kill = fill("KILL CONNECTION $1", &[Literal::Number(session)]);
    sqlx::raw_sql(kill).execute(pool).await?;
    Ok(())
}
