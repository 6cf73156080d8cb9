//! The fence on PostgreSQL: the checker's side, and the statements of a fenced transaction.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{BoxFuture, join_all};
use sqlx::postgres::PgConnectOptions;
use sqlx::{PgConnection, PgPool, Postgres, Row};
use uuid::Uuid;

use super::schema::{self, FENCE, INBOX};
use super::{decoded, inbox, pool, weaknesses};
use crate::database::first_id;
use crate::database::literal::{Literal, fill};
use crate::database::network::{Bound, OwnPool};
use crate::error::Error;
use crate::fence::held::{self, Giver};
use crate::fence::verdict::{FenceRow, Verdict};
use crate::fence::{BusinessDatabase, CommitFailure, FenceDatabase, FenceRefusal, Isolation};
use crate::message::MessageId;
use crate::protocol::scope::{FenceKey, Staged};
use crate::store::StoreError;

/// The business database in PostgreSQL.
#[derive(Debug)]
pub(crate) struct PostgresFence {
    pool: OwnPool<Postgres>,
    lock_timeout: Duration,
}

/// Connections for questions. One waits for an open transaction at most.
const CONNECTIONS: u32 = 4;

impl PostgresFence {
    pub(crate) async fn open(
        options: PgConnectOptions,
        lock_timeout: Duration,
        pooled: bool,
    ) -> Result<Self, Error> {
        let pool = pool(options, CONNECTIONS, pooled);
        pool.reach().await.map_err(|cause| cause.into_error("the fence's database could not be opened"))?;
        Ok(Self { pool, lock_timeout })
    }

    async fn insert_tombstones(
        &self,
        identity: Uuid,
        call_ids: &[MessageId],
    ) -> Result<Vec<(MessageId, Verdict)>, StoreError> {
        // `DO UPDATE`, though it changes nothing, makes the row that was first come back. The
        // configuration takes effect because the statement asks for what `set_config` returns.
        let sql = concat!(
            "WITH configured AS MATERIALIZED (SELECT set_config('lock_timeout', $4, true) AS value) ",
            "INSERT INTO tm_fence AS f (call_id, outcome) SELECT call_id, $1 FROM configured, ",
            "unnest($2::uuid[]) AS asked (call_id), tm_fence_database d ",
            "WHERE d.identity = $3 AND configured.value IS NOT NULL ORDER BY call_id ",
            "ON CONFLICT (call_id) DO UPDATE SET outcome = f.outcome RETURNING call_id, outcome, amended"
        );
        let lock_timeout = format!("{}ms", self.lock_timeout.as_millis().max(1));
        let bind = |query: Bound<Postgres>| {
            query.bind(FenceRow::Tombstone.code()).bind(call_ids).bind(identity).bind(&lock_timeout)
        };
        // All rows are read to the end: only then has the statement committed.
        let rows: Vec<(MessageId, i64, Option<Vec<u8>>)> = decoded(&self.pool.fetch(sql, bind).await?)?;
        Ok(rows.into_iter().map(|(id, outcome, amended)| (id, FenceRow::verdict(outcome, amended))).collect())
    }

    async fn ask_one(&self, identity: Uuid, call_id: MessageId) -> (MessageId, Verdict) {
        let answer = self.insert_tombstones(identity, &[call_id]).await;
        let answer = answer.map(|mut answers| answers.pop().map_or(Verdict::wrong_database(), |(_, it)| it));
        (call_id, answer.unwrap_or_else(|error| Verdict::Unknown(error.to_string())))
    }
}

#[async_trait]
impl FenceDatabase for PostgresFence {
    async fn migrate(&self) -> Result<(), StoreError> {
        schema::migrate(FENCE, &self.pool).await
    }

    async fn weaknesses(&self) -> Result<Vec<String>, StoreError> {
        weaknesses(&self.pool).await
    }

    async fn identity(&self) -> Result<Uuid, StoreError> {
        schema::check(FENCE, &self.pool).await?;
        let rows = self.pool.fetch("SELECT identity FROM tm_fence_database", |query| query).await?;
        rows.first().map_or_else(
            || Err(StoreError::Schema("the table tm_fence_database is empty: it must have one row".into())),
            |row| Ok(row.try_get(0)?),
        )
    }

    async fn ask(&self, identity: Uuid, call_ids: &[MessageId]) -> Vec<Verdict> {
        // A call with several messages is asked about once: a statement can't insert a row twice.
        let mut asked = call_ids.to_vec();
        asked.sort_unstable();
        asked.dedup();
        let answers = match self.insert_tombstones(identity, &asked).await {
            Ok(answers) => answers,
            // One open transaction keeps no other call from being answered.
            Err(_) => join_all(asked.iter().map(|id| self.ask_one(identity, *id))).await,
        };
        Verdict::of_each(call_ids, &answers)
    }

    async fn read(&self, identity: Uuid, call_id: MessageId) -> Option<Verdict> {
        let sql = "SELECT d.identity, f.outcome, f.amended FROM tm_fence_database d \
                   LEFT JOIN tm_fence f ON f.call_id = $1";
        let rows = self.pool.fetch(sql, |query| query.bind(call_id)).await;
        let rows = rows.and_then(|rows| decoded::<(Uuid, Option<i64>, Option<Vec<u8>>)>(&rows));
        match rows.map(|mut rows| rows.pop()) {
            Ok(Some((found, outcome, amended))) if found == identity => {
                outcome.map(|outcome| FenceRow::verdict(outcome, amended))
            }
            Ok(_) => Some(Verdict::wrong_database()),
            Err(error) => Some(Verdict::Unknown(error.to_string())),
        }
    }

    async fn forget(&self, call_ids: &[MessageId]) -> Result<(), StoreError> {
        let sql = "DELETE FROM tm_fence WHERE call_id = ANY($1)";
        self.pool.execute(sql, |query| query.bind(call_ids)).await?;
        Ok(())
    }

    async fn older_than(&self, age: Duration, limit: u32) -> Result<Vec<MessageId>, StoreError> {
        let sql = "SELECT call_id FROM tm_fence WHERE call_id < $1 ORDER BY call_id LIMIT $2";
        let rows = self.pool.fetch(sql, |query| query.bind(first_id(age)).bind(i64::from(limit))).await?;
        Ok(decoded::<(MessageId,)>(&rows)?.into_iter().map(|(id,)| id).collect())
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// `BEGIN`, and the fence row with it, in one round trip. Without the identity it fails.
macro_rules! fenced {
    ($begin:literal) => {
        concat!($begin, "; SELECT tm_fence_enter($1, $2)")
    };
}

/// Fails unless the fence row was written by this transaction; nothing after it is executed then.
const PROVE: &str = "SELECT tm_fence_prove($1, $2)";
/// `AND CHAIN`: sqlx can't be told that its transaction has ended, so another one begins, which it
/// rolls back.
const PROVE_AND_COMMIT: &str = "SELECT tm_fence_prove($1, $2); COMMIT AND CHAIN";

/// Writes the payload that replaces the first one. It is bound, since statements get into logs: sqlx
/// writes theirs to the application's. Only in the proven transaction: outside of it, a pooler may
/// have somebody else's statement where the values go.
async fn amend(connection: &mut PgConnection, call_id: MessageId, payload: &[u8]) -> Result<(), sqlx::Error> {
    let proof = fill(PROVE, &[Literal::Id(call_id), Literal::Number(FenceRow::Committed.code())]);
    sqlx::raw_sql(proof).execute(&mut *connection).await?;
    sqlx::query("UPDATE tm_fence SET amended = $2 WHERE call_id = $1")
        .bind(call_id)
        .bind(payload)
        .persistent(false)
        .execute(connection)
        .await?;
    Ok(())
}

/// What `tm_fence_enter` says without the identity.
const WRONG_DATABASE: &str = "TMF01";
const UNIQUE_VIOLATION: &str = "23505";

/// What the database's answer to [`PROVE_AND_COMMIT`] means.
fn failure(error: sqlx::Error) -> CommitFailure {
    let code = code(&error).unwrap_or_default();
    match code.get(..2) {
        // Integrity constraints that were deferred, and their triggers; serialization failures and
        // deadlocks.
        Some("23" | "40" | "P0") => CommitFailure::RolledBack(error),
        // No row, a transaction that has failed, a table or function that is gone: the proof has
        // failed, and what comes after it was not executed.
        Some("TM" | "25" | "42") => CommitFailure::Unproven(StoreError::Refused(format!(
            "the fence row is not in the transaction: did a statement fail, or end it underneath? ({error})"
        ))),
        _ => CommitFailure::Unclear(error),
    }
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code().map(Cow::into_owned))
}

impl BusinessDatabase for Postgres {
    const WAITS_FOR_ITSELF: bool = false;

    fn begin_statement(isolation: Option<Isolation>, _: Giver) -> &'static str {
        match isolation {
            None => "BEGIN",
            Some(Isolation::ReadCommitted) => "BEGIN ISOLATION LEVEL READ COMMITTED",
            Some(Isolation::RepeatableRead) => "BEGIN ISOLATION LEVEL REPEATABLE READ",
            Some(Isolation::Serializable) => "BEGIN ISOLATION LEVEL SERIALIZABLE",
        }
    }

    fn begin_fenced(
        connection: &mut PgConnection,
        isolation: Option<Isolation>,
        _: Giver,
        fence: FenceKey,
    ) -> BoxFuture<'_, Result<(), FenceRefusal>> {
        Box::pin(async move {
            let begin = fill(
                match isolation {
                    None => fenced!("BEGIN"),
                    Some(Isolation::ReadCommitted) => fenced!("BEGIN ISOLATION LEVEL READ COMMITTED"),
                    Some(Isolation::RepeatableRead) => fenced!("BEGIN ISOLATION LEVEL REPEATABLE READ"),
                    Some(Isolation::Serializable) => fenced!("BEGIN ISOLATION LEVEL SERIALIZABLE"),
                },
                &[Literal::Id(fence.call_id), Literal::Id(fence.identity)],
            );
            let Err(error) = held::begin::<Self>(connection, begin).await else { return Ok(()) };
            // sqlx leaves the connection in the transaction that has failed.
            let failed = |error: sqlx::Error| FenceRefusal::Failed(error.into());
            sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await.map_err(failed)?;
            match code(&error).as_deref() {
                Some(WRONG_DATABASE) => Err(FenceRefusal::WrongDatabase),
                Some(UNIQUE_VIOLATION) => {
                    let select = fill(
                        "SELECT outcome FROM tm_fence WHERE call_id = $1",
                        &[Literal::Id(fence.call_id)],
                    );
                    let rows = sqlx::raw_sql(select).fetch_all(connection).await.map_err(failed)?;
                    let outcome = rows.first().map(|row| row.try_get::<i64, _>(0)).transpose();
                    Err(FenceRefusal::of_row(outcome.map_err(failed)?))
                }
                _ => Err(failed(error)),
            }
        })
    }

    fn commit_fenced(
        connection: &mut PgConnection,
        call_id: MessageId,
        staged: Staged,
    ) -> BoxFuture<'_, Result<(), CommitFailure>> {
        Box::pin(async move {
            let Staged { row, amended } = staged;
            if let Some(payload) = amended {
                amend(connection, call_id, &payload).await.map_err(failure)?;
            }
            let commit = fill(PROVE_AND_COMMIT, &[Literal::Id(call_id), Literal::Number(row.code())]);
            let Err(error) = sqlx::raw_sql(commit).execute(&mut *connection).await else {
                held::leave_ended::<Self>(connection);
                return Ok(());
            };
            let failure = failure(error);
            if let CommitFailure::RolledBack(_) = failure {
                // For the rollback by which sqlx learns of it, and which PostgreSQL warns about without.
                let _ = sqlx::raw_sql("BEGIN").execute(connection).await;
            }
            Err(failure)
        })
    }

    fn migrate_inbox(pool: &PgPool) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(schema::migrate_on(INBOX, pool))
    }

    fn check_inbox(pool: &PgPool) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(schema::check_on(INBOX, pool))
    }

    fn enter_inbox<'c>(
        connection: &'c mut PgConnection,
        queue: &'c str,
        message_id: MessageId,
    ) -> BoxFuture<'c, Result<bool, StoreError>> {
        Box::pin(inbox::enter(connection, queue, message_id))
    }

    fn prove_inbox<'c>(
        connection: &'c mut PgConnection,
        queue: &'c str,
        message_id: MessageId,
    ) -> BoxFuture<'c, Result<(), StoreError>> {
        Box::pin(inbox::prove(connection, queue, message_id))
    }

    fn prune_inbox<'p>(
        pool: &'p PgPool,
        queue: &'p str,
        age: Duration,
        limit: u32,
    ) -> BoxFuture<'p, Result<u64, StoreError>> {
        Box::pin(inbox::prune(pool, queue, age, limit))
    }
}
