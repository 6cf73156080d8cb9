//! The fence on PostgreSQL: the checker's side, and the statements of a fenced transaction.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sqlx::{PgConnection, PgPool, Postgres, Row, SqlSafeStr, SqlStr};

use super::errors::{NO_RIGHT, code, no_right};
use super::schema::{self, FENCE};
use super::session::{find, pool};
use super::{decoded, weaknesses};
use crate::database::first_id;
use crate::database::literal::{Literal, fill, fill_at};
use crate::database::login::Login;
use crate::database::network::{Bound, RetryingPool};
use crate::database::refusal::not_opened;
use crate::error::Error;
use crate::fence::verdict::Verdict;
use crate::fence::{FenceDatabase, FoundRow, verdict};
use crate::message::{CallId, FenceId};
use crate::sql::{
    CommitFailure, FenceDialect, FenceKey, FenceRefusal, FenceRow, FenceWrite, Giver, Isolation, Namespace,
    TablePlace, TransactionDialect, raw,
};
use crate::store::StoreError;

/// The business database in PostgreSQL.
#[derive(Debug)]
pub(crate) struct PostgresFence {
    pool: RetryingPool<Postgres>,
    /// The application's, if it gave one.
    business: Option<PgPool>,
    namespace: Namespace,
    lock_timeout: Duration,
}

/// Connections for questions. One waits for an open transaction at most.
const CONNECTIONS: u32 = 4;

impl PostgresFence {
    pub(crate) async fn open(
        login: Login<Postgres>,
        place: &TablePlace,
        lock_timeout: Duration,
        pooled: bool,
    ) -> Result<Self, Error> {
        let open = async {
            let (login, namespace) = find(login, place, FENCE).await?;
            let pool = pool(&login, &namespace, CONNECTIONS, pooled);
            Ok(Self { pool, business: login.pool().cloned(), namespace, lock_timeout })
        };
        open.await.map_err(|cause| not_opened(cause, "the fence's database could not be opened"))
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

    fn namespace(&self) -> Namespace {
        self.namespace.clone()
    }

    async fn identity(&self) -> Result<FenceId, StoreError> {
        schema::check(FENCE, &self.pool).await?;
        let rows = self.pool.fetch("SELECT identity FROM tm_fence_database", |query| query).await?;
        let Some(row) = rows.first() else {
            return Err(StoreError::Schema(
                "the table tm_fence_database is empty: it must have one row".into(),
            ));
        };
        let identity = row.try_get(0)?;
        match &self.business {
            Some(pool) if !schema::leads_to(pool, &self.namespace, identity).await? => Err(StoreError::Schema(
                "the pool's connections lead to another database than its options: do its hooks move them?".into(),
            )),
            _ => Ok(identity),
        }
    }

    async fn insert_tombstones(
        &self,
        identity: FenceId,
        call_ids: &[CallId],
    ) -> Result<Vec<(CallId, Verdict)>, StoreError> {
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
        let rows = decoded(&self.pool.fetch(sql, bind).await?)?;
        Ok(rows.into_iter().map(verdict).collect())
    }

    async fn find_row(&self, call_id: CallId) -> Result<Option<FoundRow>, StoreError> {
        let sql = "SELECT d.identity, f.outcome, f.amended FROM tm_fence_database d \
                   LEFT JOIN tm_fence f ON f.call_id = $1";
        let rows = self.pool.fetch(sql, |query| query.bind(call_id)).await?;
        Ok(decoded(&rows)?.pop())
    }

    async fn find_rows(
        &self,
        identity: FenceId,
        call_ids: &[CallId],
    ) -> Result<Vec<(CallId, Verdict)>, StoreError> {
        let sql = "SELECT f.call_id, f.outcome, f.amended FROM tm_fence f, tm_fence_database d \
                   WHERE f.call_id = ANY($1) AND d.identity = $2";
        let rows = decoded(&self.pool.fetch(sql, |query| query.bind(call_ids).bind(identity)).await?)?;
        Ok(rows.into_iter().map(verdict).collect())
    }

    fn join_statement(&self, key: &FenceKey) -> String {
        Postgres::join_statement(key).as_str().to_owned()
    }

    fn done_statement(&self, key: &FenceKey, decided: Option<CallId>) -> String {
        Postgres::done_statement(key, decided).as_str().to_owned()
    }

    async fn forget(&self, call_ids: &[CallId]) -> Result<(), StoreError> {
        let sql = "DELETE FROM tm_fence WHERE call_id = ANY($1)";
        self.pool.execute(sql, |query| query.bind(call_ids)).await?;
        Ok(())
    }

    async fn forget_withheld(&self, age: Duration, limit: u32) -> Result<u64, StoreError> {
        let sql = concat!(
            "DELETE FROM tm_fence WHERE call_id = ANY (ARRAY (SELECT call_id FROM tm_fence ",
            "WHERE call_id < $1 AND outcome = $2 ORDER BY call_id LIMIT $3))"
        );
        let bind = |query: Bound<Postgres>| {
            query.bind(first_id(age)).bind(FenceRow::Withheld.code()).bind(i64::from(limit))
        };
        Ok(self.pool.execute(sql, bind).await?.rows_affected())
    }

    async fn older_than(&self, age: Duration, limit: u32) -> Result<Vec<CallId>, StoreError> {
        let sql = "SELECT call_id FROM tm_fence WHERE call_id < $1 ORDER BY call_id LIMIT $2";
        let rows = self.pool.fetch(sql, |query| query.bind(first_id(age)).bind(i64::from(limit))).await?;
        Ok(decoded::<(CallId,)>(&rows)?.into_iter().map(|(id,)| id).collect())
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// `BEGIN`, and the fence row with it, in one round trip. Without the identity it fails.
macro_rules! fenced {
    ($begin:literal) => {
        concat!($begin, "; CALL $0.tm_fence_begin($1, $2)")
    };
}

/// Fails unless `tm_fence_begin` was called in this transaction: the cursor that it opened, whose name this is, is gone with
/// the transaction. Nothing after it is executed then. Makes sure, too, that the commit will be durable.
const PROVE: &str = "MOVE IN $1";
/// `AND CHAIN`: sqlx can't be told that its transaction has ended, so another one begins, which it
/// rolls back.
const COMMIT: &str = "COMMIT AND CHAIN";
const PROVE_AND_COMMIT: &str = "MOVE IN $1; COMMIT AND CHAIN";
/// The same, with another row: for the messages that the body has decided on.
const PROVE_ADD_AND_COMMIT: &str = "MOVE IN $1; SELECT $0.tm_fence_add($2, $3); COMMIT AND CHAIN";
/// The same, when the fence row shall say something else than that the transaction committed.
const PROVE_WRITE_AND_COMMIT: &str = "MOVE IN $1; SELECT $0.tm_fence_prove($2, $3); COMMIT AND CHAIN";

/// A savepoint is refused outside of a transaction.
const JOIN: &str = "SAVEPOINT tm_fence; RELEASE SAVEPOINT tm_fence; SELECT $0.tm_fence_join($1, $2)";
const DONE: &str = "SELECT $0.tm_fence_done($1, NULL)";
const DONE_AND_ADD: &str = "SELECT $0.tm_fence_add($1, $2); SELECT $0.tm_fence_done($1, NULL)";

/// Proves, and writes the payload that replaces the first one; nothing of the body's comes between this and the
/// commit. The payload is bound, since statements get into logs: sqlx writes theirs to the application's. Only in a
/// transaction that was proven before: outside of one, a pooler may have somebody else's statement where the values go.
async fn amend(
    connection: &mut PgConnection,
    fence: &FenceKey,
    row: FenceRow,
    payload: &[u8],
) -> Result<(), sqlx::Error> {
    let proof = fill(PROVE, &[Literal::Name(fence.call_id.as_uuid())]);
    sqlx::raw_sql(proof).execute(&mut *connection).await?;
    sqlx::query(fill_at(&fence.namespace, "SELECT $0.tm_fence_amend($1, $2, $3)", &[]))
        .bind(fence.call_id)
        .bind(row.code())
        .bind(payload)
        .persistent(false)
        .execute(connection)
        .await?;
    Ok(())
}

/// What `tm_fence_begin` says without the identity.
const WRONG_DATABASE: &str = "TMF01";
/// What `tm_fence_add` says of a row that is there already.
const CLOSED: &str = "TMF03";
const UNIQUE_VIOLATION: &str = "23505";

/// What the database's answer to [`PROVE_AND_COMMIT`] means.
fn failure(error: sqlx::Error, namespace: &Namespace) -> CommitFailure {
    let code = code(&error).unwrap_or_default();
    match code.get(..2) {
        _ if code == CLOSED => CommitFailure::Fenced,
        // Integrity constraints that were deferred, and their triggers; serialization failures and
        // deadlocks.
        Some("23" | "40" | "P0") => CommitFailure::RolledBack(error),
        Some("42") if code == NO_RIGHT => CommitFailure::Unproven(no_right(&error, namespace)),
        // No cursor, no row, a transaction that has failed, a table, function or schema that is gone: what comes after was
        // not executed.
        Some("34" | "TM" | "25" | "42" | "3F") => CommitFailure::Unproven(no_fence(&error)),
        _ => CommitFailure::Unclear(error),
    }
}

fn no_fence(error: &sqlx::Error) -> StoreError {
    let why = "the fence row is not in the transaction: did a statement fail, or end it underneath?";
    StoreError::Refused(format!("{why} ({error})"))
}

impl TransactionDialect for Postgres {
    const WAITS_FOR_ITSELF: bool = false;

    fn begin_statement(isolation: Option<Isolation>, _: Giver) -> &'static str {
        match isolation {
            None => "BEGIN",
            Some(Isolation::ReadCommitted) => "BEGIN ISOLATION LEVEL READ COMMITTED",
            Some(Isolation::RepeatableRead) => "BEGIN ISOLATION LEVEL REPEATABLE READ",
            Some(Isolation::Serializable) => "BEGIN ISOLATION LEVEL SERIALIZABLE",
        }
    }
}

impl FenceDialect for Postgres {
    fn begin_fenced(
        connection: &mut PgConnection,
        isolation: Option<Isolation>,
        _: Giver,
        fence: FenceKey,
    ) -> BoxFuture<'_, Result<(), FenceRefusal>> {
        Box::pin(async move {
            let begin = match isolation {
                None => fenced!("BEGIN"),
                Some(Isolation::ReadCommitted) => fenced!("BEGIN ISOLATION LEVEL READ COMMITTED"),
                Some(Isolation::RepeatableRead) => fenced!("BEGIN ISOLATION LEVEL REPEATABLE READ"),
                Some(Isolation::Serializable) => fenced!("BEGIN ISOLATION LEVEL SERIALIZABLE"),
            };
            let FenceKey { namespace, identity, call_id } = &fence;
            let call_id = Literal::Id(call_id.as_uuid());
            let begin = fill_at(namespace, begin, &[call_id, Literal::Id(identity.as_uuid())]);
            let Err(error) = raw::begin::<Self>(connection, begin).await else { return Ok(()) };
            // sqlx leaves the connection in the transaction that has failed.
            let failed = |error: sqlx::Error| FenceRefusal::Failed(error.into());
            sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await.map_err(failed)?;
            match code(&error).as_deref() {
                Some(WRONG_DATABASE) => Err(FenceRefusal::WrongDatabase),
                Some(UNIQUE_VIOLATION) => {
                    let select =
                        fill_at(namespace, "SELECT outcome FROM $0.tm_fence WHERE call_id = $1", &[call_id]);
                    let rows = sqlx::raw_sql(select).fetch_all(connection).await.map_err(failed)?;
                    let outcome = rows.first().map(|row| row.try_get::<i64, _>(0)).transpose();
                    Err(FenceRefusal::of_row(outcome.map_err(failed)?))
                }
                Some(NO_RIGHT) => Err(FenceRefusal::Failed(no_right(&error, namespace))),
                _ => Err(failed(error)),
            }
        })
    }

    fn commit_fenced(
        connection: &mut PgConnection,
        fence: FenceKey,
        write: FenceWrite,
    ) -> BoxFuture<'_, Result<(), CommitFailure>> {
        Box::pin(async move {
            let FenceWrite { row, amended, decided } = write;
            let FenceKey { namespace, call_id, .. } = &fence;
            let row = if let Some(payload) = amended {
                let amended = amend(connection, &fence, row, &payload).await;
                amended.map_err(|error| failure(error, namespace))?;
                None
            } else {
                Some(row)
            };
            let id = call_id.as_uuid();
            let proof = Literal::Name(id);
            let commit = match (row, decided) {
                // Proven before, but the cursor is there to the end.
                (_, Some(decided)) => {
                    let values = [proof, Literal::Id(id), Literal::Id(decided.as_uuid())];
                    fill_at(namespace, PROVE_ADD_AND_COMMIT, &values)
                }
                (None, None) => COMMIT.into_sql_str(),
                (Some(FenceRow::Committed), None) => fill_at(namespace, PROVE_AND_COMMIT, &[proof]),
                (Some(row), None) => {
                    let values = [proof, Literal::Id(id), Literal::Number(row.code())];
                    fill_at(namespace, PROVE_WRITE_AND_COMMIT, &values)
                }
            };
            let Err(error) = sqlx::raw_sql(commit).execute(&mut *connection).await else {
                raw::leave_ended::<Self>(connection);
                return Ok(());
            };
            let failure = failure(error, namespace);
            if let CommitFailure::RolledBack(_) = failure {
                // For the rollback by which sqlx learns of it, and which PostgreSQL warns about without.
                let _ = sqlx::raw_sql("BEGIN").execute(connection).await;
            }
            Err(failure)
        })
    }

    fn join_statement(fence: &FenceKey) -> SqlStr {
        let values = [Literal::Id(fence.call_id.as_uuid()), Literal::Id(fence.identity.as_uuid())];
        fill_at(&fence.namespace, JOIN, &values)
    }

    fn join_refusal(error: sqlx::Error, fence: &FenceKey) -> FenceRefusal {
        match code(&error).as_deref() {
            Some(WRONG_DATABASE) => FenceRefusal::WrongDatabase,
            // Which row is there can't be asked in a transaction that has failed.
            Some(UNIQUE_VIOLATION) => FenceRefusal::Fenced,
            Some(NO_RIGHT) => FenceRefusal::Failed(no_right(&error, &fence.namespace)),
            _ => FenceRefusal::Failed(error.into()),
        }
    }

    fn done_statement(fence: &FenceKey, decided: Option<CallId>) -> SqlStr {
        let call_id = Literal::Id(fence.call_id.as_uuid());
        match decided {
            None => fill_at(&fence.namespace, DONE, &[call_id]),
            Some(decided) => {
                let values = [call_id, Literal::Id(decided.as_uuid())];
                fill_at(&fence.namespace, DONE_AND_ADD, &values)
            }
        }
    }

    fn done_amended(
        connection: &mut PgConnection,
        fence: FenceKey,
        payload: Vec<u8>,
        decided: Option<CallId>,
    ) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(async move {
            if let Some(decided) = decided {
                let values = [Literal::Id(fence.call_id.as_uuid()), Literal::Id(decided.as_uuid())];
                let add = fill_at(&fence.namespace, "SELECT $0.tm_fence_add($1, $2)", &values);
                sqlx::raw_sql(add).execute(&mut *connection).await?;
            }
            sqlx::query(fill_at(&fence.namespace, "SELECT $0.tm_fence_done($1, $2)", &[]))
                .bind(fence.call_id)
                .bind(payload)
                .persistent(false)
                .execute(connection)
                .await?;
            Ok(())
        })
    }

    fn execute(connection: &mut PgConnection, statement: SqlStr) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(async move { sqlx::raw_sql(statement).execute(connection).await.map(|_| ()) })
    }
}
