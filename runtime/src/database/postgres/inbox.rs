//! The inbox on PostgreSQL.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::{PgConnection, PgPool, Postgres, Row};

use super::errors::{NO_RIGHT, UNPROVEN, code, no_right};
use super::schema::{self, INBOX};
use super::{decoded, now};
use crate::database::literal::{Literal, fill, fill_at};
use crate::database::millis;
use crate::message::MessageId;
use crate::sql::{InboxDialect, InboxEntry, InboxKey, InboxQueue, Namespace, TablePlace, list};
use crate::store::StoreError;

fn key(message: InboxKey<'_>) -> [Literal<'_>; 2] {
    [Literal::Text(message.queue.name), Literal::Id(message.id.as_uuid())]
}

impl InboxDialect for Postgres {
    fn migrate_inbox<'p>(
        pool: &'p PgPool,
        place: &'p TablePlace,
    ) -> BoxFuture<'p, Result<Namespace, StoreError>> {
        Box::pin(schema::migrate_on(INBOX, pool, place))
    }

    fn check_inbox<'p>(
        pool: &'p PgPool,
        place: &'p TablePlace,
    ) -> BoxFuture<'p, Result<Namespace, StoreError>> {
        Box::pin(schema::check_on(INBOX, pool, place))
    }

    /// Records the message as this transaction's first statement. The commit is durable: the message is
    /// acknowledged after it.
    ///
    /// What was pruned is read after the record is in, by a statement of its own: if the record could be written because
    /// somebody has just pruned the last one, that statement sees it. Where statements see what was there when the
    /// transaction began, a lock makes it fail instead.
    fn enter_inbox<'c>(
        connection: &'c mut PgConnection,
        message: InboxKey<'c>,
    ) -> BoxFuture<'c, Result<InboxEntry, StoreError>> {
        Box::pin(async move {
            let [queue, id] = key(message);
            let enter = fill_at(
                message.queue.namespace,
                concat!(
                    "WITH configured AS MATERIALIZED (SELECT set_config('synchronous_commit', ",
                    "replace(current_setting('synchronous_commit'), 'off', 'on'), true) AS done) ",
                    "INSERT INTO $0.tm_inbox (queue, message_id, received_at) SELECT $1, $2, greatest($3, ",
                    now!(),
                    ") FROM configured WHERE done IS NOT NULL ON CONFLICT DO NOTHING RETURNING NULL::bigint; ",
                    "SELECT up_to FROM $0.tm_inbox_pruned WHERE queue = $1 AND current_setting('transaction_isolation') = 'read committed' ",
                    "UNION ALL SELECT up_to FROM (SELECT up_to FROM $0.tm_inbox_pruned WHERE queue = $1 AND ",
                    "current_setting('transaction_isolation') <> 'read committed' FOR KEY SHARE) AS locked ",
                    "UNION ALL SELECT -pg_backend_pid()"
                ),
                &[queue, id, Literal::Number(message.due)],
            );
            let rows = sqlx::raw_sql(enter).fetch_all(connection).await?;
            let rows = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<Option<i64>>, _>>()?;
            // A NULL stands for the record, a negative number for the session.
            if !rows.contains(&None) {
                return Ok(InboxEntry::Known);
            }
            let numbers = || rows.iter().flatten();
            if numbers().any(|up_to| *up_to > message.begins) {
                return Ok(InboxEntry::Forgotten);
            }
            Ok(InboxEntry::New { session: numbers().min().map_or(0, |session| -session) })
        })
    }

    fn enter_more<'c>(
        connection: &'c mut PgConnection,
        queue: InboxQueue<'c>,
        messages: &'c [InboxKey<'c>],
    ) -> BoxFuture<'c, Result<bool, StoreError>> {
        Box::pin(async move {
            let list = list(messages);
            let enter = fill_at(
                queue.namespace,
                concat!(
                    "INSERT INTO $0.tm_inbox (queue, message_id, received_at) ",
                    "SELECT $1, (one ->> 0)::uuid, greatest((one ->> 1)::bigint, ",
                    now!(),
                    ") FROM jsonb_array_elements(($2)::jsonb) AS messages (one) ON CONFLICT DO NOTHING"
                ),
                &[Literal::Text(queue.name), Literal::Text(&list)],
            );
            let done = sqlx::raw_sql(enter).execute(connection).await?;
            Ok(done.rows_affected() == messages.len() as u64)
        })
    }

    /// Fails unless the record was written by the transaction that is about to commit.
    fn prove_inbox<'c>(
        connection: &'c mut PgConnection,
        message: InboxKey<'c>,
    ) -> BoxFuture<'c, Result<bool, StoreError>> {
        Box::pin(async move {
            let namespace = message.queue.namespace;
            let prove = fill_at(namespace, "SELECT $0.tm_inbox_prove($1, $2)", &key(message));
            let Err(error) = sqlx::raw_sql(prove).execute(connection).await else { return Ok(true) };
            match code(&error).as_deref() {
                Some(UNPROVEN) => Err(StoreError::Refused(
                    "the inbox row is not in the transaction: was it ended underneath?".into(),
                )),
                Some(NO_RIGHT) => Err(no_right(&error, namespace)),
                _ => Err(error.into()),
            }
        })
    }

    /// Ids that do not begin with their time are forgotten by the other one alone.
    fn prune_inbox<'c>(
        connection: &'c mut PgConnection,
        queue: InboxQueue<'c>,
        age: Duration,
        limit: u32,
    ) -> BoxFuture<'c, Result<u64, StoreError>> {
        Box::pin(async move {
            let prune = fill_at(
                queue.namespace,
                concat!(
                    "WITH cut AS MATERIALIZED (SELECT ",
                    now!(),
                    " - $2 AS off), pruned AS (DELETE FROM $0.tm_inbox WHERE queue = $1 AND message_id IN (",
                    "SELECT i.message_id FROM $0.tm_inbox i WHERE i.queue = $1 AND i.received_at < (SELECT off FROM cut) AND ",
                    "(substr(i.message_id::text, 15, 1) <> '7' OR ",
                    "i.message_id < (SELECT (lpad(to_hex(greatest(off, 0)), 12, '0') || repeat('0', 20))::uuid FROM cut)) ",
                    "ORDER BY i.received_at LIMIT $3 FOR UPDATE SKIP LOCKED) RETURNING 1), ",
                    "noted AS (INSERT INTO $0.tm_inbox_pruned (queue, up_to) SELECT $1, off FROM cut WHERE EXISTS (SELECT FROM pruned) ",
                    "ON CONFLICT (queue) DO UPDATE SET up_to = greatest(tm_inbox_pruned.up_to, EXCLUDED.up_to)), ",
                    "entered AS (DELETE FROM $0.tm_inbox_entered WHERE queue = $1 AND entered_at < (SELECT off FROM cut)) ",
                    "SELECT count(*) FROM pruned"
                ),
                &[Literal::Text(queue.name), Literal::Number(millis(age)), Literal::Number(i64::from(limit))],
            );
            let pruned: i64 = sqlx::raw_sql(prune).fetch_one(connection).await?.try_get(0)?;
            Ok(pruned.unsigned_abs())
        })
    }

    fn entries<'c>(
        connection: &'c mut PgConnection,
        queue: InboxQueue<'c>,
    ) -> BoxFuture<'c, Result<Vec<(MessageId, i64)>, StoreError>> {
        Box::pin(async move {
            let select = "SELECT message_id, entries FROM $0.tm_inbox_entered WHERE queue = $1";
            let select = fill_at(queue.namespace, select, &[Literal::Text(queue.name)]);
            decoded(&sqlx::raw_sql(select).fetch_all(connection).await?)
        })
    }

    /// The record that is tried first waits for whoever is handling the message, but not for long.
    fn enter_alone<'c>(
        connection: &'c mut PgConnection,
        message: InboxKey<'c>,
    ) -> BoxFuture<'c, Result<bool, StoreError>> {
        Box::pin(async move {
            let (namespace, key) = (message.queue.namespace, key(message));
            let probe = fill_at(
                namespace,
                concat!(
                    "SET LOCAL lock_timeout = '200ms'; SAVEPOINT tm_probe; ",
                    "INSERT INTO $0.tm_inbox (queue, message_id, received_at) VALUES ($1, $2, ",
                    now!(),
                    ") ON CONFLICT DO NOTHING RETURNING 1"
                ),
                &key,
            );
            if sqlx::raw_sql(probe).fetch_all(&mut *connection).await?.is_empty() {
                return Ok(false);
            }
            let note = fill_at(
                namespace,
                concat!(
                    "ROLLBACK TO SAVEPOINT tm_probe; ",
                    "INSERT INTO $0.tm_inbox_entered (queue, message_id, entries, entered_at) VALUES ($1, $2, 1, ",
                    now!(),
                    ") ON CONFLICT (queue, message_id) DO UPDATE SET entries = tm_inbox_entered.entries + 1, ",
                    "entered_at = EXCLUDED.entered_at"
                ),
                &key,
            );
            sqlx::raw_sql(note).execute(connection).await?;
            Ok(true)
        })
    }

    fn leave_alone<'c>(
        connection: &'c mut PgConnection,
        message: InboxKey<'c>,
        all: bool,
    ) -> BoxFuture<'c, Result<(), StoreError>> {
        Box::pin(async move {
            let [queue, id] = key(message);
            let leave = fill_at(
                message.queue.namespace,
                "UPDATE $0.tm_inbox_entered SET entries = entries - 1 WHERE queue = $1 AND message_id = $2; \
                 DELETE FROM $0.tm_inbox_entered WHERE queue = $1 AND message_id = $2 AND (entries <= 0 OR $3 = 1)",
                &[queue, id, Literal::Number(all.into())],
            );
            sqlx::raw_sql(leave).execute(connection).await?;
            Ok(())
        })
    }

    /// Ends a session whose client has left in the middle of a statement: PostgreSQL notices that only when the statement
    /// is done.
    fn end_session(pool: &PgPool, session: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let end = fill(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND usename = session_user AND state = 'active'",
                &[Literal::Number(session)],
            );
            sqlx::raw_sql(end).execute(pool).await?;
            Ok(())
        })
    }
}
