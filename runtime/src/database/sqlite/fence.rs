//! The fence on SQLite: the checker's side, and the statements of a fenced transaction.
//!
//! SQLite has no statement that fails when the transaction was ended underneath, as by a body that
//! sends `COMMIT` itself. So a savepoint is opened behind the fence row: `RELEASE` fails without it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{SqlSafeStr, SqlStr, Sqlite, SqliteConnection, SqlitePool};

use super::schema::{self, FENCE};
use super::session::{pool, reach};
use super::write::{self, id_list};
use super::{PATIENCE, primary_code};
use crate::database::first_id;
use crate::database::literal::{Literal, fill};
use crate::database::write_queue::WriteQueue;
use crate::error::{Error, ErrorKind};
use crate::fence::verdict::Verdict;
use crate::fence::{FenceDatabase, FoundRow, verdict};
use crate::message::state::MessageState;
use crate::message::{CallId, FenceId, Half};
use crate::sql::{
    CommitFailure, FenceDialect, FenceKey, FenceRefusal, FenceRow, FenceWrite, Giver, Isolation, Namespace,
    TransactionDialect, WriteTurn, raw,
};
use crate::store::{Hold, StoreError};

/// The business database in a SQLite file.
#[derive(Debug)]
pub(crate) struct SqliteFence {
    pool: SqlitePool,
    queue: Arc<WriteQueue>,
    lock_timeout: Duration,
    /// Migrations wait for open transactions; questions don't.
    patient: SqlitePool,
}

/// SQLite's primary code for a constraint that would be violated.
const CONSTRAINT: i64 = 19;

impl SqliteFence {
    pub(crate) async fn open(options: SqliteConnectOptions, lock_timeout: Duration) -> Result<Self, Error> {
        let options = options.create_if_missing(true);
        let queue = WriteQueue::of(options.get_filename());
        let patient = pool(options.clone().busy_timeout(PATIENCE), 1);
        let pool = pool(options.busy_timeout(lock_timeout), 1);
        reach(&patient).await.map_err(|cause| {
            Error::new(ErrorKind::Unavailable, "the fence's database could not be opened").with_source(cause)
        })?;
        Ok(Self { pool, queue, lock_timeout, patient })
    }
}

#[async_trait]
impl FenceDatabase for SqliteFence {
    async fn migrate(&self) -> Result<(), StoreError> {
        if self.identity().await.is_ok() {
            return Ok(());
        }
        schema::migrate(FENCE, &self.patient).await
    }

    async fn weaknesses(&self) -> Result<Vec<String>, StoreError> {
        // How the business's own connections are set up can't be seen from here.
        Ok(Vec::new())
    }

    // Named in the statements on the application's connections, whose temporary tables come first otherwise.
    fn namespace(&self) -> Namespace {
        Namespace::default()
    }

    async fn identity(&self) -> Result<FenceId, StoreError> {
        schema::check(FENCE, &self.pool).await?;
        Ok(sqlx::query_scalar("SELECT identity FROM tm_fence_database").fetch_one(&self.pool).await?)
    }

    async fn insert_tombstones(
        &self,
        identity: FenceId,
        call_ids: &[CallId],
    ) -> Result<Vec<(CallId, Verdict)>, StoreError> {
        let _turn = self.queue.take(self.lock_timeout).await?;
        // `DO UPDATE`, though it changes nothing, makes the row that was first come back.
        let rows = sqlx::query_as(concat!(
            "INSERT INTO tm_fence (call_id, outcome) SELECT unhex(value), ?1 FROM json_each(?2) ",
            "WHERE EXISTS (SELECT 1 FROM tm_fence_database WHERE identity = ?3) ",
            "ON CONFLICT (call_id) DO UPDATE SET outcome = outcome RETURNING call_id, outcome, amended"
        ))
        .bind(FenceRow::Tombstone.code())
        .bind(id_list(call_ids))
        .bind(identity)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(verdict).collect())
    }

    async fn find_row(&self, call_id: CallId) -> Result<Option<FoundRow>, StoreError> {
        let row = sqlx::query_as(
            "SELECT d.identity, f.outcome, f.amended FROM tm_fence_database d LEFT JOIN tm_fence f ON f.call_id = ?",
        )
        .bind(call_id)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row)
    }

    async fn find_rows(
        &self,
        identity: FenceId,
        call_ids: &[CallId],
    ) -> Result<Vec<(CallId, Verdict)>, StoreError> {
        let rows = sqlx::query_as(concat!(
            "SELECT call_id, outcome, amended FROM tm_fence WHERE call_id IN (SELECT unhex(value) FROM json_each(?1)) ",
            "AND EXISTS (SELECT 1 FROM tm_fence_database WHERE identity = ?2)"
        ));
        let rows = rows.bind(id_list(call_ids)).bind(identity).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(verdict).collect())
    }

    fn join_statement(&self, key: &FenceKey) -> String {
        Sqlite::join_statement(key).as_str().to_owned()
    }

    fn done_statement(&self, key: &FenceKey, decided: Option<CallId>) -> String {
        Sqlite::done_statement(key, decided).as_str().to_owned()
    }

    // Its savepoints are a transaction of their own where no other is open: that is committed, too.
    fn not_done_statement(&self, key: &FenceKey) -> String {
        fill(NOT_DONE, &[Literal::Name(key.call_id.as_uuid())]).as_str().to_owned()
    }

    fn locks_rows(&self) -> bool {
        false
    }

    fn file(&self) -> Option<&Path> {
        Some(self.queue.file())
    }

    async fn forget(&self, call_ids: &[CallId]) -> Result<(), StoreError> {
        let _turn = self.queue.take(PATIENCE).await?;
        sqlx::query("DELETE FROM tm_fence WHERE call_id IN (SELECT unhex(value) FROM json_each(?))")
            .bind(id_list(call_ids))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn forget_withheld(&self, age: Duration, limit: u32) -> Result<u64, StoreError> {
        let _turn = self.queue.take(PATIENCE).await?;
        let forgotten = sqlx::query(concat!(
            "DELETE FROM tm_fence WHERE call_id IN (SELECT call_id FROM tm_fence WHERE call_id < ?1 AND outcome = ?2 ",
            "ORDER BY call_id LIMIT ?3)"
        ));
        let forgotten = forgotten.bind(first_id(age)).bind(FenceRow::Withheld.code()).bind(i64::from(limit));
        Ok(forgotten.execute(&self.pool).await?.rows_affected())
    }

    async fn older_than(&self, age: Duration, limit: u32) -> Result<Vec<CallId>, StoreError> {
        let sql = "SELECT call_id FROM tm_fence WHERE call_id < ?1 ORDER BY call_id LIMIT ?2";
        let ids =
            sqlx::query_scalar(sql).bind(first_id(age)).bind(i64::from(limit)).fetch_all(&self.pool).await?;
        Ok(ids)
    }

    async fn close(&self) {
        self.patient.close().await;
        self.pool.close().await;
    }
}

impl TransactionDialect for Sqlite {
    // One writer a file: a second transaction of the same call would wait for the first.
    const WAITS_FOR_ITSELF: bool = true;
    const LOSES_TRACK: bool = false;

    // SQLite's transactions are serializable, whatever is asked for.
    fn begin_statement(_: Option<Isolation>, _: Giver) -> &'static str {
        "BEGIN IMMEDIATE"
    }

    fn take_turn(pool: &SqlitePool) -> BoxFuture<'_, Result<WriteTurn, StoreError>> {
        let queue = WriteQueue::of(pool.connect_options().get_filename());
        Box::pin(async move { queue.take(PATIENCE).await.map(WriteTurn::of) })
    }

    // Fails, and changes nothing, when a transaction is open.
    fn before_rollback(connection: &mut SqliteConnection) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _ = sqlx::query("BEGIN").execute(connection).await;
        })
    }
}

/// The fence row, and a savepoint behind it. Without the identity, the outcome is `NULL`, and the row refused. `BEGIN` is
/// not in it: a transaction that sqlx does not count would stay open when this fails.
const ENTER: &str = "INSERT INTO main.tm_fence (call_id, outcome) \
     VALUES ($1, (SELECT 1 FROM main.tm_fence_database WHERE identity = $2)); SAVEPOINT $3";

/// Fails when the transaction that opened the savepoint is no longer the one that is open.
const PROVE: &str = "RELEASE $1";
/// The same, with another row: for the messages that the body has decided on.
const PROVE_AND_ADD: &str = "RELEASE $1; INSERT INTO main.tm_fence (call_id, outcome) VALUES ($2, 1)";

/// The savepoint behind the row is the proof that it is still there. The one before it is a transaction, where none was open:
/// its release commits.
const JOIN: &str = "SAVEPOINT tm_joined; INSERT INTO main.tm_fence (call_id, outcome) \
     VALUES ($1, (SELECT 3 FROM main.tm_fence_database WHERE identity = $2)); SAVEPOINT $3";
const DONE: &str =
    "RELEASE $2; UPDATE main.tm_fence SET outcome = 1 WHERE call_id = $1 AND outcome = 3; RELEASE tm_joined";
/// First what may be refused: that takes nothing else back.
const DONE_AND_ADD: &str = "RELEASE $2; INSERT INTO main.tm_fence (call_id, outcome) VALUES ($3, 1); \
     UPDATE main.tm_fence SET outcome = 1 WHERE call_id = $1 AND outcome = 3; RELEASE tm_joined";
/// There is nothing to send, and the row says so.
const NOT_DONE: &str = "RELEASE $1; RELEASE tm_joined";

impl FenceDialect for Sqlite {
    fn begin_fenced(
        connection: &mut SqliteConnection,
        isolation: Option<Isolation>,
        giver: Giver,
        fence: FenceKey,
    ) -> BoxFuture<'_, Result<(), FenceRefusal>> {
        Box::pin(async move {
            let failed = |error: sqlx::Error| FenceRefusal::Failed(error.into());
            raw::begin::<Self>(connection, Self::begin_statement(isolation, giver)).await.map_err(failed)?;
            let (call_id, identity) = (fence.call_id.as_uuid(), fence.identity.as_uuid());
            let values = [Literal::Binary(call_id), Literal::Binary(identity), Literal::Name(call_id)];
            let entered = sqlx::raw_sql(fill(ENTER, &values)).execute(&mut *connection).await;
            let Err(error) = entered else { return Ok(()) };
            if primary_code(&error) != Some(CONSTRAINT) {
                return Err(failed(error));
            }
            let outcome: Option<i64> =
                sqlx::query_scalar("SELECT outcome FROM main.tm_fence WHERE call_id = ?1")
                    .bind(fence.call_id)
                    .fetch_optional(connection)
                    .await
                    .map_err(failed)?;
            Err(FenceRefusal::of_row(outcome))
        })
    }

    fn commit_fenced(
        connection: &mut SqliteConnection,
        fence: FenceKey,
        write: FenceWrite,
    ) -> BoxFuture<'_, Result<(), CommitFailure>> {
        Box::pin(async move {
            prove(connection, fence.call_id, write).await?;
            <Self as TransactionDialect>::commit(connection).await.map_err(|error| {
                match primary_code(&error) {
                    // As of a foreign key that was deferred: the transaction is still open.
                    Some(CONSTRAINT) => CommitFailure::RolledBack(error),
                    _ => CommitFailure::Unclear(error),
                }
            })
        })
    }

    fn join_statement(fence: &FenceKey) -> SqlStr {
        let (call_id, identity) = (fence.call_id.as_uuid(), fence.identity.as_uuid());
        fill(JOIN, &[Literal::Binary(call_id), Literal::Binary(identity), Literal::Name(call_id)])
    }

    fn join_refusal(error: sqlx::Error, _: &FenceKey) -> FenceRefusal {
        let text = error.as_database_error().map_or("", |error| error.message());
        match primary_code(&error) {
            Some(CONSTRAINT) if text.contains("NOT NULL") => FenceRefusal::WrongDatabase,
            Some(CONSTRAINT) => FenceRefusal::Fenced,
            _ => FenceRefusal::Failed(error.into()),
        }
    }

    fn done_statement(fence: &FenceKey, decided: Option<CallId>) -> SqlStr {
        let call_id = fence.call_id.as_uuid();
        let mut values = vec![Literal::Binary(call_id), Literal::Name(call_id)];
        values.extend(decided.map(|decided| Literal::Binary(decided.as_uuid())));
        fill(if decided.is_some() { DONE_AND_ADD } else { DONE }, &values)
    }

    fn done_amended(
        connection: &mut SqliteConnection,
        fence: FenceKey,
        payload: Vec<u8>,
        decided: Option<CallId>,
    ) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(async move {
            sqlx::raw_sql(proof(fence.call_id, decided)).execute(&mut *connection).await?;
            let update =
                "UPDATE main.tm_fence SET outcome = 1, amended = ?1 WHERE call_id = ?2 AND outcome = 3";
            sqlx::query(update).bind(payload).bind(fence.call_id).execute(&mut *connection).await?;
            sqlx::raw_sql("RELEASE tm_joined").execute(connection).await?;
            Ok(())
        })
    }

    fn insert_halves<'a>(
        connection: &'a mut SqliteConnection,
        halves: &'a [Arc<Half>],
        hold: Hold,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let halves: Vec<_> = halves.iter().map(Arc::as_ref).collect();
            write::Insertion::new(&halves, MessageState::Half, hold).query().execute(connection).await?;
            Ok(())
        })
    }

    fn execute(
        connection: &mut SqliteConnection,
        statement: SqlStr,
    ) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(async move { sqlx::raw_sql(statement).execute(connection).await.map(|_| ()) })
    }
}

/// Proves that the fence row is part of the open transaction, and adds another row if there is one.
fn proof(call_id: CallId, decided: Option<CallId>) -> SqlStr {
    let savepoint = Literal::Name(call_id.as_uuid());
    let Some(decided) = decided else { return fill(PROVE, &[savepoint]) };
    fill(PROVE_AND_ADD, &[savepoint, Literal::Binary(decided.as_uuid())])
}

/// Proves that the fence row is part of the open transaction, and writes what was staged.
async fn prove(
    connection: &mut SqliteConnection,
    call_id: CallId,
    write: FenceWrite,
) -> Result<(), CommitFailure> {
    sqlx::raw_sql(proof(call_id, write.decided)).execute(&mut *connection).await.map_err(|error| {
        match primary_code(&error) {
            Some(CONSTRAINT) => CommitFailure::Fenced,
            _ => CommitFailure::Unproven(ended(&error)),
        }
    })?;
    if !write.changes_the_row() {
        return Ok(());
    }
    let updated = sqlx::query(
        "UPDATE main.tm_fence SET outcome = ?1, amended = ?2 WHERE call_id = ?3 AND outcome = ?4",
    )
    .bind(write.row.code())
    .bind(write.amended)
    .bind(call_id)
    .bind(FenceRow::Committed.code())
    .execute(connection)
    .await
    .map_err(|error| CommitFailure::Unproven(error.into()))?;
    if updated.rows_affected() == 1 {
        return Ok(());
    }
    Err(CommitFailure::Unproven(StoreError::Refused("the fence row is gone from the transaction".into())))
}

/// Fails when the transaction that opened the savepoint is no longer the one that is open.
pub(super) async fn release(
    connection: &mut SqliteConnection,
    statement: impl SqlSafeStr,
) -> Result<(), StoreError> {
    sqlx::raw_sql(statement).execute(connection).await.map(|_| ()).map_err(|error| ended(&error))
}

fn ended(error: &sqlx::Error) -> StoreError {
    StoreError::Refused(format!(
        "the transaction was ended underneath, by a COMMIT or ROLLBACK of its own or by an error that SQLite answers with a \
         rollback ({error})"
    ))
}
