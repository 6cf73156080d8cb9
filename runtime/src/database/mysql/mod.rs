//! MySQL and MariaDB.
//!
//! There is no `RETURNING` in common: what becomes of rows is found out in a transaction, which
//! locks them first, in the order of their ids. A process that stands still leaves them locked for as
//! long as a transaction may be idle, which is three seconds; MySQL knows no such time, there it is half
//! a minute, as for a session.

mod by_hand;
mod control;
pub(super) mod errors;
mod fence;
mod inbox;
mod operate;
mod operations;
mod processes;
mod schema;
mod search;
mod session;
mod store;
mod write;

pub(crate) use fence::MySqlFence;
pub(super) use schema::{FENCE, INBOX, MESSAGE};
pub(crate) use store::MySqlStore;

use sqlx::mysql::MySqlRow;
use sqlx::{FromRow, MySql};
use uuid::Uuid;

use super::network::RetryingPool;
use crate::store::StoreError;

/// Milliseconds since the Unix epoch, by the database's clock, when the statement was begun: the
/// same in all of it, and fit for an index.
macro_rules! now {
    () => {
        "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000)"
    };
}
pub(crate) use now;

/// The same, when a row is looked at, which is after the wait for its lock. Only in our sessions,
/// whose time zone is known.
macro_rules! late_now {
    () => {
        "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', SYSDATE(3)) DIV 1000)"
    };
}
use late_now;

/// A list of ids as a table with one column, in its order: `?` is what [`id_list`] returns. A table derived from
/// `JSON_TABLE`, because MySQL locks nothing that is joined to that one itself (3569).
///
/// What is joined to it is named `FORCE INDEX (PRIMARY)`: of a small table, MariaDB and MySQL would rather read, and
/// lock, all rows.
macro_rules! ids {
    () => {
        "(SELECT UNHEX(j.id) AS wanted FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) j) c"
    };
}
use ids;

/// A list of names as a table: `?` is what [`name_list`] returns.
macro_rules! names {
    () => {
        "JSON_TABLE(?, '$[*]' COLUMNS (name VARCHAR(400) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) a"
    };
}
use names;

type Checkout = super::network::Checkout<MySql>;

/// When the server ends a statement (on MySQL, one that only reads): later than we wait ourselves, in seconds and in
/// milliseconds.
macro_rules! patience {
    ($seconds:literal, $millis:literal) => {
        concat!(
            "/*M!100101 SESSION max_statement_time = ",
            $seconds,
            ", */ /*!80000 SESSION max_execution_time = ",
            $millis,
            ", */ SESSION wait_timeout = 30"
        )
    };
}
use patience;

/// Ids as a JSON list of hexadecimal text, sorted: rows are locked in this order.
fn id_list<I: Into<Uuid> + Copy>(ids: &[I]) -> String {
    let mut ids: Vec<Uuid> = ids.iter().map(|id| (*id).into()).collect();
    ids.sort_unstable();
    let ids: Vec<String> = ids.iter().map(|id| id.simple().to_string()).collect();
    serde_json::json!(ids).to_string()
}

/// Names as a JSON list.
fn name_list<N: ToString>(names: &[N]) -> String {
    serde_json::json!(names.iter().map(ToString::to_string).collect::<Vec<_>>()).to_string()
}

/// Rows as tuples.
fn decoded<T: for<'r> FromRow<'r, MySqlRow>>(rows: &[MySqlRow]) -> Result<Vec<T>, sqlx::Error> {
    rows.iter().map(T::from_row).collect()
}

/// Headers are stored as JSON, in which a character is written with six at most.
const JSON: usize = 6;

/// What is said where a connection has no database.
const NO_DATABASE: &str = "the connection has no database: name one in the URL, as in \
    `mysql://user:password@host:3306/database`, in the pool's options, or by `schema`";

/// Settings of the server under which a commit can be lost that was reported, each as a text.
async fn weaknesses(pool: &RetryingPool<MySql>) -> Result<Vec<String>, StoreError> {
    // Some of them are unsigned.
    let sql = "SELECT CAST(@@GLOBAL.innodb_flush_log_at_trx_commit AS SIGNED), CAST(@@GLOBAL.log_bin AS SIGNED), \
               CAST(@@GLOBAL.sync_binlog AS SIGNED)";
    let rows: Vec<(i64, i64, i64)> = decoded(&pool.fetch(sql, |query| query).await?)?;
    let mut found = Vec::new();
    for (flush, log_bin, sync_binlog) in rows {
        if flush != 1 {
            found.push(format!("MySQL's `innodb_flush_log_at_trx_commit` is {flush}, and not 1"));
        }
        if log_bin != 0 && sync_binlog != 1 {
            found.push(format!("MySQL's `sync_binlog` is {sync_binlog}, and not 1"));
        }
    }
    Ok(found)
}
