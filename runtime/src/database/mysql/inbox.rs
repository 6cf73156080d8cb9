//! The inbox on MySQL.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::{MySql, MySqlConnection, MySqlPool, Row};

use super::fence::{is_changed, is_duplicate, release};
use super::schema::{self, INBOX};
use super::{decoded, now};
use crate::database::literal::{Literal, fill, fill_at, fill_each};
use crate::database::millis;
use crate::message::MessageId;
use crate::sql::{InboxDialect, InboxEntry, InboxKey, InboxQueue, Namespace, TablePlace, list};
use crate::store::StoreError;

type Bound = crate::database::network::Bound<MySql>;

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

/// Deletes rows by their keys, each by itself: so surely no other one is locked, whatever the planner thinks, and it works
/// where sessions have `sql_safe_updates`.
async fn delete(
    connection: &mut MySqlConnection,
    queue: InboxQueue<'_>,
    sql: &'static str,
    ids: Vec<(MessageId,)>,
) -> Result<u64, sqlx::Error> {
    if ids.is_empty() {
        return Ok(0);
    }
    let name = queue.name.as_bytes();
    let rows = ids.into_iter().map(|(id,)| [Literal::Bytes(name), Literal::Binary(id.as_uuid())]);
    let deletes = fill_each(queue.namespace, sql, rows);
    Ok(sqlx::raw_sql(deletes).execute(connection).await?.rows_affected())
}

impl InboxDialect for MySql {
    fn migrate_inbox<'p>(
        pool: &'p MySqlPool,
        place: &'p TablePlace,
    ) -> BoxFuture<'p, Result<Namespace, StoreError>> {
        Box::pin(schema::migrate_on(INBOX, pool, place))
    }

    fn check_inbox<'p>(
        pool: &'p MySqlPool,
        place: &'p TablePlace,
    ) -> BoxFuture<'p, Result<Namespace, StoreError>> {
        Box::pin(schema::check_on(INBOX, pool, place))
    }

    /// Records the message as this transaction's first statement.
    ///
    /// Reads nothing: what the handler reads is as old as the transaction's first read, and should be as young as without
    /// an inbox. So what was pruned is looked at by `prove_inbox`.
    fn enter_inbox<'c>(
        connection: &'c mut MySqlConnection,
        message: InboxKey<'c>,
    ) -> BoxFuture<'c, Result<InboxEntry, StoreError>> {
        Box::pin(async move {
            let enter = fill_at(
                message.queue.namespace,
                concat!(
                    "SAVEPOINT transactional_message_inbox; INSERT INTO $0.tm_inbox (queue, message_id, received_at) VALUES ($1, $2, greatest($3, ",
                    now!(),
                    ")); SELECT CAST(CONNECTION_ID() AS SIGNED)"
                ),
                &[
                    Literal::Bytes(message.queue.name.as_bytes()),
                    Literal::Binary(message.id.as_uuid()),
                    Literal::Number(message.due),
                ],
            );
            match sqlx::raw_sql(enter).fetch_all(&mut *connection).await {
                Ok(rows) => {
                    let session = rows.first().map(|row| row.try_get(0)).transpose()?;
                    Ok(InboxEntry::New { session: session.unwrap_or_default() })
                }
                Err(error) if is_duplicate(&error) => Ok(InboxEntry::Known),
                // The transaction is rolled back, and sees what is there now.
                Err(error) if is_changed(&error) && is_there(connection, message).await? => {
                    Ok(InboxEntry::Known)
                }
                Err(error) => Err(error.into()),
            }
        })
    }

    fn enter_more<'c>(
        connection: &'c mut MySqlConnection,
        queue: InboxQueue<'c>,
        messages: &'c [InboxKey<'c>],
    ) -> BoxFuture<'c, Result<bool, StoreError>> {
        Box::pin(async move {
            let enter = concat!(
                "INSERT INTO $0.tm_inbox (queue, message_id, received_at) SELECT ?, UNHEX(id), GREATEST(due, ",
                now!(),
                ") FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$[0]', due BIGINT PATH '$[1]')) AS messages"
            );
            let enter = of(enter, queue).bind(list(messages));
            match enter.execute(connection).await {
                Ok(_) => Ok(true),
                Err(error) if is_duplicate(&error) || is_changed(&error) => Ok(false),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Fails unless the record is in the transaction that is about to commit. `false`: it could be written because an
    /// older one was pruned; then the transaction sees up to when.
    fn prove_inbox<'c>(
        connection: &'c mut MySqlConnection,
        message: InboxKey<'c>,
    ) -> BoxFuture<'c, Result<bool, StoreError>> {
        Box::pin(async move {
            release(connection, "RELEASE SAVEPOINT transactional_message_inbox").await?;
            let select = "SELECT COALESCE((SELECT up_to FROM $0.tm_inbox_pruned WHERE queue = ?), 0) FROM $0.tm_inbox \
                          WHERE queue = ? AND message_id = ?";
            let queue = message.queue.name.as_bytes();
            let row = of(select, message.queue)
                .bind(queue.to_vec())
                .bind(message.id)
                .fetch_optional(connection)
                .await?;
            match row.map(|row| row.try_get::<i64, _>(0)).transpose()? {
                Some(up_to) => Ok(up_to <= message.begins),
                None => Err(StoreError::Refused("the inbox row is gone from the transaction".into())),
            }
        })
    }

    /// Ids that do not begin with their time are forgotten by the other one alone.
    ///
    /// Waits for nobody. A deletion by the queue would wait for the record of a message that is being handled, for as long
    /// as that takes, and whoever waits for a record keeps others from being inserted before it.
    fn prune_inbox<'c>(
        connection: &'c mut MySqlConnection,
        queue: InboxQueue<'c>,
        age: Duration,
        limit: u32,
    ) -> BoxFuture<'c, Result<u64, StoreError>> {
        Box::pin(async move {
            let off: i64 =
                sqlx::query_scalar(concat!("SELECT CAST(GREATEST(", now!(), " - ?, 0) AS SIGNED)"))
                    .bind(millis(age))
                    .fetch_one(&mut *connection)
                    .await?;
            let old = "SELECT message_id FROM $0.tm_inbox FORCE INDEX (tm_inbox_age) WHERE queue = ? AND received_at < ? AND \
                       (SUBSTR(HEX(message_id), 13, 1) <> '7' OR LEFT(HEX(message_id), 12) < LPAD(HEX(?), 12, '0')) \
                       ORDER BY received_at LIMIT ? FOR UPDATE SKIP LOCKED";
            let old = of(old, queue).bind(off).bind(off).bind(i64::from(limit));
            let old: Vec<(MessageId,)> = decoded(&old.fetch_all(&mut *connection).await?)?;
            let record = "DELETE FROM $0.tm_inbox WHERE queue = $1 AND message_id = $2";
            let pruned = delete(connection, queue, record, old).await?;
            if pruned > 0 {
                let note = "INSERT INTO $0.tm_inbox_pruned (queue, up_to) VALUES (?, ?) \
                            ON DUPLICATE KEY UPDATE up_to = GREATEST(up_to, VALUES(up_to))";
                of(note, queue).bind(off).execute(&mut *connection).await?;
            }
            let notes = "SELECT message_id FROM $0.tm_inbox_entered WHERE queue = ? AND entered_at < ? FOR UPDATE SKIP LOCKED";
            let notes = of(notes, queue).bind(off).fetch_all(&mut *connection).await?;
            let note = "DELETE FROM $0.tm_inbox_entered WHERE queue = $1 AND message_id = $2";
            delete(connection, queue, note, decoded(&notes)?).await?;
            Ok(pruned)
        })
    }

    fn entries<'c>(
        connection: &'c mut MySqlConnection,
        queue: InboxQueue<'c>,
    ) -> BoxFuture<'c, Result<Vec<(MessageId, i64)>, StoreError>> {
        Box::pin(async move {
            let select = "SELECT message_id, entries FROM $0.tm_inbox_entered WHERE queue = ?";
            Ok(decoded(&of(select, queue).fetch_all(connection).await?)?)
        })
    }

    /// Fails at once when somebody is handling the message, who has its record locked.
    fn enter_alone<'c>(
        connection: &'c mut MySqlConnection,
        message: InboxKey<'c>,
    ) -> BoxFuture<'c, Result<bool, StoreError>> {
        Box::pin(async move {
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
        })
    }

    fn leave_alone<'c>(
        connection: &'c mut MySqlConnection,
        message: InboxKey<'c>,
        all: bool,
    ) -> BoxFuture<'c, Result<(), StoreError>> {
        Box::pin(async move {
            let update =
                "UPDATE $0.tm_inbox_entered SET entries = entries - 1 WHERE queue = ? AND message_id = ?";
            about(update, message).execute(&mut *connection).await?;
            let delete =
                "DELETE FROM $0.tm_inbox_entered WHERE queue = ? AND message_id = ? AND (entries <= 0 OR ?)";
            about(delete, message).bind(all).execute(connection).await?;
            Ok(())
        })
    }

    /// Ends a session whose client has left in the middle of a statement: MySQL notices that only when the statement is
    /// done.
    fn end_session(pool: &MySqlPool, session: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let kill = fill("KILL CONNECTION $1", &[Literal::Number(session)]);
            sqlx::raw_sql(kill).execute(pool).await?;
            Ok(())
        })
    }
}
