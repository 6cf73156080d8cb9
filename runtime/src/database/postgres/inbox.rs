//! The inbox on PostgreSQL.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};

use super::now;
use crate::database::literal::{Literal, fill};
use crate::database::millis;
use crate::message::MessageId;
use crate::store::StoreError;

/// Records the message as this transaction's first statement. `false`: its effect has happened.
/// The commit is durable: the message is acknowledged after it.
pub(super) async fn enter(
    connection: &mut PgConnection,
    queue: &str,
    message_id: MessageId,
) -> Result<bool, StoreError> {
    let insert = fill(
        concat!(
            "WITH configured AS MATERIALIZED (SELECT set_config('synchronous_commit', ",
            "replace(current_setting('synchronous_commit'), 'off', 'on'), true) AS done) ",
            "INSERT INTO tm_inbox (queue, message_id, received_at) SELECT $1, $2, ",
            now!(),
            " FROM configured WHERE done IS NOT NULL ON CONFLICT DO NOTHING"
        ),
        &[Literal::Text(queue), Literal::Id(message_id)],
    );
    Ok(sqlx::raw_sql(insert).execute(connection).await?.rows_affected() == 1)
}

/// Fails unless the record was written by the transaction that is about to commit.
pub(super) async fn prove(
    connection: &mut PgConnection,
    queue: &str,
    message_id: MessageId,
) -> Result<(), StoreError> {
    let select = fill(
        "SELECT message_id FROM tm_inbox WHERE queue = $1 AND message_id = $2 AND xmin = pg_current_xact_id()::xid",
        &[Literal::Text(queue), Literal::Id(message_id)],
    );
    match sqlx::raw_sql(select).fetch_all(connection).await?.len() {
        1 => Ok(()),
        _ => Err(StoreError::Refused(
            "the inbox row is not in the transaction: was it ended underneath?".into(),
        )),
    }
}

/// Forgets the queue's messages received longer than `age` ago, at most `limit` of them.
pub(super) async fn prune(pool: &PgPool, queue: &str, age: Duration, limit: u32) -> Result<u64, StoreError> {
    let delete = fill(
        concat!(
            "DELETE FROM tm_inbox WHERE queue = $1 AND message_id IN (SELECT message_id FROM tm_inbox ",
            "WHERE queue = $1 AND received_at < ",
            now!(),
            " - $2 ORDER BY received_at LIMIT $3)"
        ),
        &[Literal::Text(queue), Literal::Number(millis(age)), Literal::Number(i64::from(limit))],
    );
    Ok(sqlx::raw_sql(delete).execute(pool).await?.rows_affected())
}
