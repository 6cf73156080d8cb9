//! The fence on MySQL: the checker's side, and the statements of a fenced transaction.
//!
//! As on SQLite, a failed statement does not end the transaction here, and a body may end it
//! underneath. So a savepoint is opened behind the fence row: `RELEASE` fails without it.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sqlx::mysql::MySqlDatabaseError;
use sqlx::{MySql, MySqlConnection, MySqlPool, Row, SqlSafeStr, SqlStr};

use super::schema::{self, FENCE};
use super::session::{check_server, find, session};
use super::{Checkout, decoded, id_list, ids, patience, weaknesses};
use crate::database::first_id;
use crate::database::literal::{Literal, fill, fill_at};
use crate::database::login::Login;
use crate::database::network::{Bound, RetryingPool};
use crate::database::refusal::not_opened;
use crate::error::Error;
use crate::fault;
use crate::fence::verdict::Verdict;
use crate::fence::{FenceDatabase, FoundRow, verdict};
use crate::message::limits::Limits;
use crate::message::{CallId, FenceId};
use crate::sql::{
    CommitFailure, FenceDialect, FenceKey, FenceRefusal, FenceRow, FenceWrite, Giver, Isolation, Namespace,
    TablePlace, TransactionDialect, raw,
};
use crate::store::StoreError;

/// The business database in MySQL.
#[derive(Debug)]
pub(crate) struct MySqlFence {
    pool: RetryingPool<MySql>,
    /// The application's, if it gave one.
    business: Option<MySqlPool>,
    namespace: Namespace,
    /// In seconds, which is how MySQL counts lock time-outs.
    lock_timeout: u64,
}

/// Connections for questions. One waits for an open transaction at most.
const CONNECTIONS: u32 = 4;
const SESSION: &str = session!("1");
/// The error that says that a row with this key is there.
const DUPLICATE: u16 = 1062;
/// The same where the row is newer than what the transaction sees (MariaDB, `innodb_snapshot_isolation`); or any other
/// row that has changed since it was read. The transaction is rolled back.
const CHANGED: u16 = 1020;
/// The one for a column that must not be `NULL`: without the identity, the outcome is.
const IS_NULL: u16 = 1048;
/// The one by which a proof fails: there is no such savepoint.
const NO_SAVEPOINT: u16 = 1305;

impl MySqlFence {
    pub(crate) async fn open(
        login: Login<MySql>,
        place: &TablePlace,
        lock_timeout: Duration,
    ) -> Result<Self, Error> {
        let open = async {
            let (login, namespace) = find(login, place).await?;
            let lock_timeout = lock_timeout.as_millis().div_ceil(1000).try_into().unwrap_or(1);
            let pool = RetryingPool::new(&login, CONNECTIONS, SESSION);
            Ok(Self { pool, business: login.pool().cloned(), namespace, lock_timeout })
        };
        open.await.map_err(|cause| not_opened(cause, "the fence's database could not be opened"))
    }
}

#[async_trait]
impl FenceDatabase for MySqlFence {
    async fn migrate(&self) -> Result<(), StoreError> {
        schema::migrate(FENCE, &self.pool).await
    }

    async fn check_server(&self, limits: Limits) -> Result<(), StoreError> {
        check_server(&self.pool, limits).await
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
        let list = id_list(call_ids);
        let insert = concat!(
            "INSERT INTO tm_fence (call_id, outcome) SELECT c.wanted, ? FROM ",
            ids!(),
            " STRAIGHT_JOIN tm_fence_database d WHERE d.identity = ? ",
            "ON DUPLICATE KEY UPDATE outcome = tm_fence.outcome"
        );
        let work = |mut checkout: Checkout| {
            let list = &list;
            async move {
                let patience =
                    checkout.query("SET SESSION innodb_lock_wait_timeout = ?").bind(self.lock_timeout);
                patience.execute(&mut *checkout).await?;
                let insert =
                    checkout.query(insert).bind(FenceRow::Tombstone.code()).bind(list).bind(identity);
                insert.execute(&mut *checkout).await?;
                Ok((checkout, ()))
            }
        };
        self.pool.run(work).await?;
        // Committed by itself; what is there now stays as it is.
        self.find_rows(identity, call_ids).await
    }

    async fn find_rows(
        &self,
        identity: FenceId,
        call_ids: &[CallId],
    ) -> Result<Vec<(CallId, Verdict)>, StoreError> {
        let select = concat!(
            "SELECT f.call_id, f.outcome, f.amended FROM ",
            ids!(),
            " STRAIGHT_JOIN tm_fence f FORCE INDEX (PRIMARY) ON f.call_id = c.wanted STRAIGHT_JOIN tm_fence_database d WHERE d.identity = ?"
        );
        let list = id_list(call_ids);
        let rows = decoded(&self.pool.fetch(select, |query| query.bind(&list).bind(identity)).await?)?;
        Ok(rows.into_iter().map(verdict).collect())
    }

    fn join_statement(&self, key: &FenceKey) -> String {
        MySql::join_statement(key).as_str().to_owned()
    }

    fn done_statement(&self, key: &FenceKey, decided: Option<CallId>) -> String {
        MySql::done_statement(key, decided).as_str().to_owned()
    }

    async fn find_row(&self, call_id: CallId) -> Result<Option<FoundRow>, StoreError> {
        let sql = "SELECT d.identity, f.outcome, f.amended FROM tm_fence_database d \
                   LEFT JOIN tm_fence f ON f.call_id = ?";
        let rows = self.pool.fetch(sql, |query| query.bind(call_id)).await?;
        Ok(decoded(&rows)?.pop())
    }

    // An empty text is refused.
    fn not_done_statement(&self, _: &FenceKey) -> String {
        "DO 0".into()
    }

    async fn forget(&self, call_ids: &[CallId]) -> Result<(), StoreError> {
        let sql = concat!(
            "DELETE f FROM ",
            ids!(),
            " STRAIGHT_JOIN tm_fence f FORCE INDEX (PRIMARY) ON f.call_id = c.wanted"
        );
        self.pool.execute(sql, |query| query.bind(id_list(call_ids))).await?;
        Ok(())
    }

    async fn forget_withheld(&self, age: Duration, limit: u32) -> Result<u64, StoreError> {
        let sql = "DELETE FROM tm_fence WHERE call_id < ? AND outcome = ? ORDER BY call_id LIMIT ?";
        let bind =
            |query: Bound<MySql>| query.bind(first_id(age)).bind(FenceRow::Withheld.code()).bind(limit);
        Ok(self.pool.execute(sql, bind).await?.rows_affected())
    }

    async fn older_than(&self, age: Duration, limit: u32) -> Result<Vec<CallId>, StoreError> {
        let sql = "SELECT call_id FROM tm_fence WHERE call_id < ? ORDER BY call_id LIMIT ?";
        let rows = self.pool.fetch(sql, |query| query.bind(first_id(age)).bind(i64::from(limit))).await?;
        Ok(decoded::<(CallId,)>(&rows)?.into_iter().map(|(id,)| id).collect())
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// What ends a transaction, and then gives its session back its own `autocommit`, if `begin` took it. Compared with 1: with a
/// variable that was once `NULL`, `coalesce` makes a string, 'ON' on MariaDB and '1' on MySQL, whose setting takes no such one.
macro_rules! ended {
    ($end:literal) => {
        concat!(
            $end,
            "; SET autocommit = coalesce(@tm_autocommit = 1, @@autocommit = 1), @tm_autocommit = NULL"
        )
    };
}

/// A statement for each isolation level.
macro_rules! each_level {
    ($isolation:expr, $statement:ident) => {
        match $isolation {
            None => $statement!(""),
            Some(Isolation::ReadCommitted) => $statement!("SET TRANSACTION ISOLATION LEVEL READ COMMITTED; "),
            Some(Isolation::RepeatableRead) => {
                $statement!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; ")
            }
            Some(Isolation::Serializable) => $statement!("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; "),
        }
    };
}

macro_rules! plain {
    ($level:literal) => {
        concat!($level, "BEGIN")
    };
}

/// From here on the session commits nothing by itself: InnoDB answers some errors by rolling the whole transaction back,
/// and what a body writes after such an error would commit statement by statement.
macro_rules! manually {
    () => {
        "SET @tm_autocommit = @@autocommit, autocommit = 0; "
    };
}

macro_rules! manual {
    ($level:literal) => {
        concat!(manually!(), plain!($level))
    };
}

/// The fence row, and a savepoint behind it. The outcome is a variable, 1 in sessions that have found the identity it is named
/// after in this database, since opening that table costs more than the row. Else it is `NULL`, and the row refused.
macro_rules! fence {
    () => {
        "INSERT INTO $0.tm_fence (call_id, outcome) VALUES ($1, @$2); SAVEPOINT $3"
    };
}

/// `BEGIN` and the fence row in one round trip.
macro_rules! fenced {
    ($level:literal) => {
        concat!($level, "BEGIN; ", fence!())
    };
}

macro_rules! fenced_manual {
    ($level:literal) => {
        concat!(manually!(), fenced!($level))
    };
}

/// Sets that variable, and undoes what was begun in vain. In this order: where sessions commit nothing by themselves, the
/// look begins a transaction.
const FIND_IDENTITY: &str =
    concat!("SET @$2 = (SELECT 1 FROM $0.tm_fence_database WHERE identity = $1); ", ended!("ROLLBACK"));

/// Whether what follows a transaction that was rolled back underneath commits by itself.
fn keeps_autocommit(giver: Giver) -> bool {
    giver == Giver::Owner || fault::bug("autocommit-kept")
}

/// Ends the open transaction.
async fn end(connection: &mut MySqlConnection, statement: &'static str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(statement).execute(&mut *connection).await?;
    raw::leave_ended::<MySql>(connection);
    Ok(())
}

/// Fails in any other transaction; nothing after that is executed.
const PROVE: &str = "RELEASE SAVEPOINT $1";
/// The same, with another row: for the messages that the body has decided on.
const PROVE_AND_ADD: &str = "RELEASE SAVEPOINT $1; INSERT INTO $0.tm_fence (call_id, outcome) VALUES ($2, 1)";
const PROVE_AND_COMMIT: &str = concat!("RELEASE SAVEPOINT $1; ", ended!("COMMIT"));

/// A savepoint is gone at once outside of a transaction. The one behind the row is the proof that it is still there.
const JOIN: &str = "SAVEPOINT $3; RELEASE SAVEPOINT $3; INSERT INTO $0.tm_fence (call_id, outcome) \
     VALUES ($1, (SELECT 3 FROM $0.tm_fence_database WHERE identity = $2)); SAVEPOINT $3";
const DONE: &str =
    "RELEASE SAVEPOINT $2; UPDATE $0.tm_fence SET outcome = 1 WHERE call_id = $1 AND outcome = 3";
/// First what may be refused: that takes nothing else back.
const DONE_AND_ADD: &str = "RELEASE SAVEPOINT $2; INSERT INTO $0.tm_fence (call_id, outcome) VALUES ($3, 1); \
     UPDATE $0.tm_fence SET outcome = 1 WHERE call_id = $1 AND outcome = 3";

impl TransactionDialect for MySql {
    const WAITS_FOR_ITSELF: bool = false;

    const CLOSED_WHEN_DROPPED: bool = true;

    fn begin_statement(isolation: Option<Isolation>, giver: Giver) -> &'static str {
        if keeps_autocommit(giver) { each_level!(isolation, plain) } else { each_level!(isolation, manual) }
    }

    fn commit(connection: &mut MySqlConnection) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(end(connection, ended!("COMMIT")))
    }

    fn rollback(connection: &mut MySqlConnection) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(end(connection, ended!("ROLLBACK")))
    }
}

impl FenceDialect for MySql {
    fn begin_fenced(
        connection: &mut MySqlConnection,
        isolation: Option<Isolation>,
        giver: Giver,
        fence: FenceKey,
    ) -> BoxFuture<'_, Result<(), FenceRefusal>> {
        Box::pin(async move {
            let begin = if keeps_autocommit(giver) {
                each_level!(isolation, fenced)
            } else {
                each_level!(isolation, fenced_manual)
            };
            let (call_id, identity) = (fence.call_id.as_uuid(), fence.identity.as_uuid());
            let values = [Literal::Binary(call_id), Literal::Name(identity), Literal::Name(call_id)];
            let begin = || fill_at(&fence.namespace, begin, &values);
            let failed = |error: sqlx::Error| FenceRefusal::Failed(error.into());
            let mut answer = raw::begin::<Self>(connection, begin()).await;
            if answer.as_ref().is_err_and(|error| number(error) == Some(IS_NULL)) {
                let find = [Literal::Binary(identity), Literal::Name(identity)];
                let find = fill_at(&fence.namespace, FIND_IDENTITY, &find);
                answer = match sqlx::raw_sql(find).execute(&mut *connection).await {
                    Ok(_) => raw::begin::<Self>(connection, begin()).await,
                    Err(error) => Err(error),
                };
            }
            let Err(error) = answer else { return Ok(()) };
            let refusal = match number(&error) {
                Some(IS_NULL) => FenceRefusal::WrongDatabase,
                Some(DUPLICATE) => {
                    outcome(connection, &fence).await.map_or_else(failed, FenceRefusal::of_row)
                }
                Some(CHANGED) => match outcome(connection, &fence).await {
                    Ok(row @ Some(_)) => FenceRefusal::of_row(row),
                    _ => failed(error),
                },
                _ => failed(error),
            };
            // sqlx does not know of the transaction that was begun all the same. A connection that is not its
            // owner's is closed.
            sqlx::raw_sql("ROLLBACK").execute(connection).await.map_err(failed)?;
            Err(refusal)
        })
    }

    fn commit_fenced(
        connection: &mut MySqlConnection,
        fence: FenceKey,
        write: FenceWrite,
    ) -> BoxFuture<'_, Result<(), CommitFailure>> {
        Box::pin(async move {
            if write.changes_the_row() || write.decided.is_some() {
                write_row(connection, &fence, write).await?;
                return <Self as TransactionDialect>::commit(connection)
                    .await
                    .map_err(CommitFailure::Unclear);
            }
            let commit = fill(PROVE_AND_COMMIT, &[Literal::Name(fence.call_id.as_uuid())]);
            let Err(error) = sqlx::raw_sql(commit).execute(&mut *connection).await else {
                raw::leave_ended::<Self>(connection);
                return Ok(());
            };
            Err(match number(&error) {
                Some(NO_SAVEPOINT) => CommitFailure::Unproven(ended(&error)),
                _ => CommitFailure::Unclear(error),
            })
        })
    }

    fn join_statement(fence: &FenceKey) -> SqlStr {
        let (call_id, identity) = (fence.call_id.as_uuid(), fence.identity.as_uuid());
        let values = [Literal::Binary(call_id), Literal::Binary(identity), Literal::Name(call_id)];
        fill_at(&fence.namespace, JOIN, &values)
    }

    fn join_refusal(error: sqlx::Error, _: &FenceKey) -> FenceRefusal {
        match number(&error) {
            Some(IS_NULL) => FenceRefusal::WrongDatabase,
            // What is newer than the caller's snapshot can only be a tombstone.
            Some(DUPLICATE | CHANGED) => FenceRefusal::Fenced,
            _ => FenceRefusal::Failed(error.into()),
        }
    }

    fn done_statement(fence: &FenceKey, decided: Option<CallId>) -> SqlStr {
        let call_id = fence.call_id.as_uuid();
        let mut values = vec![Literal::Binary(call_id), Literal::Name(call_id)];
        values.extend(decided.map(|decided| Literal::Binary(decided.as_uuid())));
        fill_at(&fence.namespace, if decided.is_some() { DONE_AND_ADD } else { DONE }, &values)
    }

    fn done_amended(
        connection: &mut MySqlConnection,
        fence: FenceKey,
        payload: Vec<u8>,
        decided: Option<CallId>,
    ) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(async move {
            sqlx::raw_sql(proof(&fence, decided)).execute(&mut *connection).await?;
            let update = "UPDATE $0.tm_fence SET outcome = 1, amended = ? WHERE call_id = ? AND outcome = 3";
            let update = sqlx::query(fill_at(&fence.namespace, update, &[]));
            update.bind(payload).bind(fence.call_id).execute(connection).await?;
            Ok(())
        })
    }

    fn execute(
        connection: &mut MySqlConnection,
        statement: SqlStr,
    ) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(async move { sqlx::raw_sql(statement).execute(connection).await.map(|_| ()) })
    }
}

pub(super) fn is_duplicate(error: &sqlx::Error) -> bool {
    number(error) == Some(DUPLICATE)
}

/// Whether it may be a duplicate that the transaction does not see.
pub(super) fn is_changed(error: &sqlx::Error) -> bool {
    number(error) == Some(CHANGED)
}

fn number(error: &sqlx::Error) -> Option<u16> {
    Some(error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

/// What the fence row says that is there already.
async fn outcome(connection: &mut MySqlConnection, fence: &FenceKey) -> Result<Option<i64>, sqlx::Error> {
    let select = "SELECT outcome FROM $0.tm_fence WHERE call_id = $1 LOCK IN SHARE MODE";
    let select = fill_at(&fence.namespace, select, &[Literal::Binary(fence.call_id.as_uuid())]);
    let rows = sqlx::raw_sql(select).fetch_all(connection).await?;
    rows.first().map(|row| row.try_get(0)).transpose()
}

/// Proves that the transaction is still the one that the fence row was written in, and adds another row if there is one.
fn proof(fence: &FenceKey, decided: Option<CallId>) -> SqlStr {
    let savepoint = Literal::Name(fence.call_id.as_uuid());
    let Some(decided) = decided else { return fill(PROVE, &[savepoint]) };
    fill_at(&fence.namespace, PROVE_AND_ADD, &[savepoint, Literal::Binary(decided.as_uuid())])
}

/// The same, and writes what was staged.
async fn write_row(
    connection: &mut MySqlConnection,
    fence: &FenceKey,
    write: FenceWrite,
) -> Result<(), CommitFailure> {
    sqlx::raw_sql(proof(fence, write.decided)).execute(&mut *connection).await.map_err(
        |error| match number(&error) {
            Some(DUPLICATE | CHANGED) => CommitFailure::Fenced,
            _ => CommitFailure::Unproven(ended(&error)),
        },
    )?;
    if !write.changes_the_row() {
        return Ok(());
    }
    let update = "UPDATE $0.tm_fence SET outcome = ?, amended = ? WHERE call_id = ? AND outcome = ?";
    let updated = sqlx::query(fill_at(&fence.namespace, update, &[]))
        .bind(write.row.code())
        .bind(write.amended)
        .bind(fence.call_id)
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
    connection: &mut MySqlConnection,
    statement: impl SqlSafeStr,
) -> Result<(), StoreError> {
    sqlx::raw_sql(statement).execute(connection).await.map(|_| ()).map_err(|error| ended(&error))
}

fn ended(error: &sqlx::Error) -> StoreError {
    StoreError::Refused(format!(
        "the transaction was ended underneath, by a COMMIT or ROLLBACK of its own, a statement that MySQL commits before, or a deadlock ({error})"
    ))
}
