//! The inbox on SQLite.
//!
//! Its transactions write from the beginning: there is one at a time, and what is read in it is the newest.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::{Sqlite, SqliteConnection, SqlitePool};

use super::fence::release;
use super::now;
use super::schema::{self, INBOX};
use crate::database::millis;
use crate::message::MessageId;
use crate::sql::{InboxDialect, InboxEntry, InboxKey, InboxQueue, Namespace, TablePlace, list};
use crate::store::StoreError;

async fn is_there(connection: &mut SqliteConnection, message: InboxKey<'_>) -> Result<bool, StoreError> {
    let select = "SELECT EXISTS (SELECT 1 FROM main.tm_inbox WHERE queue = ?1 AND message_id = ?2)";
    Ok(sqlx::query_scalar(select).bind(message.queue.name).bind(message.id).fetch_one(connection).await?)
}

/// A file's tables have their own names.
fn fits(place: &TablePlace) -> Result<(), StoreError> {
    if place.prefix.is_default() {
        return Ok(());
    }
    Err(StoreError::Schema(
        "`table_prefix` is for PostgreSQL and MySQL: leave it out for a consumer on SQLite".into(),
    ))
}

impl InboxDialect for Sqlite {
    fn migrate_inbox<'p>(
        pool: &'p SqlitePool,
        place: &'p TablePlace,
    ) -> BoxFuture<'p, Result<Namespace, StoreError>> {
        Box::pin(async {
            fits(place)?;
            schema::migrate(INBOX, pool).await.map(|()| Namespace::default())
        })
    }

    fn check_inbox<'p>(
        pool: &'p SqlitePool,
        place: &'p TablePlace,
    ) -> BoxFuture<'p, Result<Namespace, StoreError>> {
        Box::pin(async {
            fits(place)?;
            schema::check(INBOX, pool).await.map(|()| Namespace::default())
        })
    }

    fn enter_inbox<'c>(
        connection: &'c mut SqliteConnection,
        message: InboxKey<'c>,
    ) -> BoxFuture<'c, Result<InboxEntry, StoreError>> {
        Box::pin(async move {
            sqlx::query("SAVEPOINT tm_inbox").execute(&mut *connection).await?;
            let inserted: Option<i64> = sqlx::query_scalar(concat!(
                "INSERT INTO main.tm_inbox (queue, message_id, received_at) VALUES (?1, ?2, max(?3, ",
                now!(),
                ")) ON CONFLICT DO NOTHING RETURNING coalesce((SELECT up_to FROM main.tm_inbox_pruned WHERE queue = ?1), 0)"
            ))
            .bind(message.queue.name)
            .bind(message.id)
            .bind(message.due)
            .fetch_optional(connection)
            .await?;
            Ok(match inserted {
                None => InboxEntry::Known,
                Some(up_to) if up_to > message.begins => InboxEntry::Forgotten,
                Some(_) => InboxEntry::New { session: 0 },
            })
        })
    }

    fn enter_more<'c>(
        connection: &'c mut SqliteConnection,
        queue: InboxQueue<'c>,
        messages: &'c [InboxKey<'c>],
    ) -> BoxFuture<'c, Result<bool, StoreError>> {
        Box::pin(async move {
            let enter = concat!(
                "INSERT INTO main.tm_inbox (queue, message_id, received_at) SELECT ?1, unhex(value ->> 0), ",
                "max(value ->> 1, ",
                now!(),
                ") FROM json_each(?2) WHERE true ON CONFLICT DO NOTHING"
            );
            let done = sqlx::query(enter).bind(queue.name).bind(list(messages)).execute(connection).await?;
            Ok(done.rows_affected() == messages.len() as u64)
        })
    }

    fn prove_inbox<'c>(
        connection: &'c mut SqliteConnection,
        message: InboxKey<'c>,
    ) -> BoxFuture<'c, Result<bool, StoreError>> {
        Box::pin(async move {
            release(connection, "RELEASE tm_inbox").await?;
            if is_there(connection, message).await? {
                Ok(true)
            } else {
                Err(StoreError::Refused("the inbox row is gone from the transaction".into()))
            }
        })
    }

    /// Ids that do not begin with their time are forgotten by the other one alone.
    fn prune_inbox<'c>(
        connection: &'c mut SqliteConnection,
        queue: InboxQueue<'c>,
        age: Duration,
        limit: u32,
    ) -> BoxFuture<'c, Result<u64, StoreError>> {
        Box::pin(async move {
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
        })
    }

    fn entries<'c>(
        connection: &'c mut SqliteConnection,
        queue: InboxQueue<'c>,
    ) -> BoxFuture<'c, Result<Vec<(MessageId, i64)>, StoreError>> {
        Box::pin(async move {
            let select = "SELECT message_id, entries FROM main.tm_inbox_entered WHERE queue = ?1";
            Ok(sqlx::query_as(select).bind(queue.name).fetch_all(connection).await?)
        })
    }

    /// While somebody is handling the message, there is no transaction to do this in.
    fn enter_alone<'c>(
        connection: &'c mut SqliteConnection,
        message: InboxKey<'c>,
    ) -> BoxFuture<'c, Result<bool, StoreError>> {
        Box::pin(async move {
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
        })
    }

    fn leave_alone<'c>(
        connection: &'c mut SqliteConnection,
        message: InboxKey<'c>,
        all: bool,
    ) -> BoxFuture<'c, Result<(), StoreError>> {
        Box::pin(async move {
            let update =
                "UPDATE main.tm_inbox_entered SET entries = entries - 1 WHERE queue = ?1 AND message_id = ?2";
            sqlx::query(update).bind(message.queue.name).bind(message.id).execute(&mut *connection).await?;
            let delete = "DELETE FROM main.tm_inbox_entered WHERE queue = ?1 AND message_id = ?2 AND (entries <= 0 OR ?3)";
            sqlx::query(delete)
                .bind(message.queue.name)
                .bind(message.id)
                .bind(all)
                .execute(connection)
                .await?;
            Ok(())
        })
    }
}
