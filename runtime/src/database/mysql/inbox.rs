//! The inbox on MySQL.

use std::time::Duration;

use sqlx::{MySql, MySqlConnection, MySqlPool, Row};

use super::fence::{is_changed, is_duplicate, release};
use super::{decoded, now};
use crate::database::literal::{Literal, fill, fill_at};
use crate::database::millis;
use crate::fence::{InboxEntry, InboxKey, InboxQueue};
use crate::message::MessageId;
use crate::store::StoreError;

type Bound = crate::database::network::Bound<MySql>;

/// Records the message as this transaction's first statement.
///
/// Reads nothing: what the handler reads is as old as the transaction's first read, and should be as young as without
/// an inbox. So what was pruned is looked at by [`prove`].
pub(super) async fn enter(
    connection: &mut MySqlConnection,
    message: InboxKey<'_>,
) -> Result<InboxEntry, StoreError> {
    let enter = fill_at(
        message.queue.namespace,
        concat!(
            "SAVEPOINT tm_inbox; INSERT INTO $0.tm_inbox (queue, message_id, received_at) VALUES ($1, $2, ",
            now!(),
            "); SELECT CAST(CONNECTION_ID() AS SIGNED)"
        ),
        &[Literal::Bytes(message.queue.name.as_bytes()), Literal::Binary(message.id)],
    );
    match sqlx::raw_sql(enter).fetch_all(&mut *connection).await {
        Ok(rows) => {
            let session = rows.first().map(|row| row.try_get(0)).transpose()?;
            Ok(InboxEntry::New { session: session.unwrap_or_default() })
        }
        Err(error) if is_duplicate(&error) => Ok(InboxEntry::Known),
        // The transaction is rolled back, and sees what is there now.
        Err(error) if is_changed(&error) && is_there(connection, message).await? => Ok(InboxEntry::Known),
        Err(error) => Err(error.into()),
    }
}

async fn is_there(connection: &mut MySqlConnection, message: InboxKey<'_>) -> Result<bool, sqlx::Error> {
    let select = "SELECT 1 FROM $0.tm_inbox WHERE queue = ? AND message_id = ?";
    Ok(about(select, message).fetch_optional(connection).await?.is_some())
}

/// A statement about a queue, or about a message in it.
fn of(sql: &'static str, queue: InboxQueue<'_>) -> Bound {
    sqlx::query(fill_at(queue.namespace, sql, &[])).bind(queue.name.as_bytes().to_vec())
}

fn about(sql: &'static str, message: InboxKey<'_>) -> Bound {
    of(sql, message.queue).bind(message.id)
}

/// Fails unless the record is in the transaction that is about to commit. `false`: it could be written because an
/// older one was pruned; then the transaction sees up to when.
pub(super) async fn prove(
    connection: &mut MySqlConnection,
    message: InboxKey<'_>,
) -> Result<bool, StoreError> {
    release(connection, "RELEASE SAVEPOINT tm_inbox").await?;
    let select = "SELECT COALESCE((SELECT up_to FROM $0.tm_inbox_pruned WHERE queue = ?), 0) FROM $0.tm_inbox \
                  WHERE queue = ? AND message_id = ?";
    let queue = message.queue.name.as_bytes();
    let row =
        of(select, message.queue).bind(queue.to_vec()).bind(message.id).fetch_optional(connection).await?;
    match row.map(|row| row.try_get::<i64, _>(0)).transpose()? {
        Some(up_to) => Ok(up_to <= message.made),
        None => Err(StoreError::Refused("the inbox row is gone from the transaction".into())),
    }
}

/// Forgets the queue's messages that were received and made longer than `age` ago, at most `limit` of them, and notes
/// up to when. Ids that do not begin with their time are forgotten by the other one alone.
pub(super) async fn prune(
    connection: &mut MySqlConnection,
    queue: InboxQueue<'_>,
    age: Duration,
    limit: u32,
) -> Result<u64, StoreError> {
    let off: i64 = sqlx::query_scalar(concat!("SELECT CAST(GREATEST(", now!(), " - ?, 0) AS SIGNED)"))
        .bind(millis(age))
        .fetch_one(&mut *connection)
        .await?;
    let delete = "DELETE FROM $0.tm_inbox WHERE queue = ? AND received_at < ? AND (SUBSTR(HEX(message_id), 13, 1) <> '7' OR \
                  LEFT(HEX(message_id), 12) < LPAD(HEX(?), 12, '0')) ORDER BY received_at LIMIT ?";
    let pruned =
        of(delete, queue).bind(off).bind(off).bind(i64::from(limit)).execute(&mut *connection).await?;
    if pruned.rows_affected() > 0 {
        let note = "INSERT INTO $0.tm_inbox_pruned (queue, up_to) VALUES (?, ?) \
                    ON DUPLICATE KEY UPDATE up_to = GREATEST(up_to, VALUES(up_to))";
        of(note, queue).bind(off).execute(&mut *connection).await?;
    }
    let entered = "DELETE FROM $0.tm_inbox_entered WHERE queue = ? AND entered_at < ?";
    of(entered, queue).bind(off).execute(connection).await?;
    Ok(pruned.rows_affected())
}

/// How often each message was entered alone, and no end of that is known.
pub(super) async fn entries(
    connection: &mut MySqlConnection,
    queue: InboxQueue<'_>,
) -> Result<Vec<(MessageId, i64)>, StoreError> {
    let select = "SELECT message_id, entries FROM $0.tm_inbox_entered WHERE queue = ?";
    Ok(decoded(&of(select, queue).fetch_all(connection).await?)?)
}

/// Notes that a message is about to be handled alone. `false`: its effect has happened. Fails at once when somebody
/// is handling it, who has its record locked.
pub(super) async fn enter_alone(
    connection: &mut MySqlConnection,
    message: InboxKey<'_>,
) -> Result<bool, StoreError> {
    let probe = "SELECT 1 FROM $0.tm_inbox WHERE queue = ? AND message_id = ? FOR UPDATE NOWAIT";
    if about(probe, message).fetch_optional(&mut *connection).await?.is_some() {
        return Ok(false);
    }
    let note = concat!(
        "INSERT INTO $0.tm_inbox_entered (queue, message_id, entries, entered_at) VALUES (?, ?, 1, ",
        now!(),
        ") ON DUPLICATE KEY UPDATE entries = entries + 1, entered_at = VALUES(entered_at)"
    );
    about(note, message).execute(connection).await?;
    Ok(true)
}

/// Takes the last such note back, or all of a message.
pub(super) async fn leave_alone(
    connection: &mut MySqlConnection,
    message: InboxKey<'_>,
    all: bool,
) -> Result<(), StoreError> {
    let update = "UPDATE $0.tm_inbox_entered SET entries = entries - 1 WHERE queue = ? AND message_id = ?";
    about(update, message).execute(&mut *connection).await?;
    let delete = "DELETE FROM $0.tm_inbox_entered WHERE queue = ? AND message_id = ? AND (entries <= 0 OR ?)";
    about(delete, message).bind(all).execute(connection).await?;
    Ok(())
}

/// Ends a session whose client has left in the middle of a statement: MySQL notices that only when the statement is
/// done.
pub(super) async fn end_session(pool: &MySqlPool, session: i64) -> Result<(), StoreError> {
    let kill = fill("KILL CONNECTION $1", &[Literal::Number(session)]);
    sqlx::raw_sql(kill).execute(pool).await?;
    Ok(())
}
