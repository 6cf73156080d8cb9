//! The inbox on PostgreSQL.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};

use super::errors::{NO_RIGHT, UNPROVEN, code, no_right};
use super::now;
use crate::database::literal::{Literal, fill_at};
use crate::database::millis;
use crate::database::namespace::Namespace;
use crate::message::MessageId;
use crate::store::StoreError;

/// Records the message as this transaction's first statement. `false`: its effect has happened.
/// The commit is durable: the message is acknowledged after it.
pub(super) async fn enter(
    connection: &mut PgConnection,
    namespace: &Namespace,
    queue: &str,
    message_id: MessageId,
) -> Result<bool, StoreError> {
    let insert = fill_at(
        namespace,
        concat!(
            "WITH configured AS MATERIALIZED (SELECT set_config('synchronous_commit', ",
            "replace(current_setting('synchronous_commit'), 'off', 'on'), true) AS done) ",
            "INSERT INTO $0.tm_inbox (queue, message_id, received_at) SELECT $1, $2, ",
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
    namespace: &Namespace,
    queue: &str,
    message_id: MessageId,
) -> Result<(), StoreError> {
    let prove = fill_at(
        namespace,
        "SELECT $0.tm_inbox_prove($1, $2)",
        &[Literal::Text(queue), Literal::Id(message_id)],
    );
    let Err(error) = sqlx::raw_sql(prove).execute(connection).await else { return Ok(()) };
    match code(&error).as_deref() {
        Some(UNPROVEN) => Err(StoreError::Refused(
            "the inbox row is not in the transaction: was it ended underneath?".into(),
        )),
        Some(NO_RIGHT) => Err(no_right(&error, namespace)),
        _ => Err(error.into()),
    }
}

/// Forgets the queue's messages received longer than `age` ago, at most `limit` of them.
pub(super) async fn prune(
    pool: &PgPool,
    namespace: &Namespace,
    queue: &str,
    age: Duration,
    limit: u32,
) -> Result<u64, StoreError> {
    let delete = fill_at(
        namespace,
        concat!(
            "DELETE FROM $0.tm_inbox WHERE queue = $1 AND message_id IN (SELECT message_id FROM $0.tm_inbox ",
            "WHERE queue = $1 AND received_at < ",
            now!(),
            " - $2 ORDER BY received_at LIMIT $3)"
        ),
        &[Literal::Text(queue), Literal::Number(millis(age)), Literal::Number(i64::from(limit))],
    );
    Ok(sqlx::raw_sql(delete).execute(pool).await?.rows_affected())
}
