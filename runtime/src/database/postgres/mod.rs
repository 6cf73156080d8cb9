//! PostgreSQL: every operation is one statement, and so one transaction.
//!
//! Nothing depends on a session: it works behind a transaction pooler, too. Rows are locked in the
//! order of their ids, so that statements over the same rows wait for each other, and never in a
//! circle.

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

pub(crate) use fence::PostgresFence;
pub(super) use schema::{FENCE, INBOX, MESSAGE};
pub(crate) use store::PostgresStore;

use sqlx::postgres::PgRow;
use sqlx::{FromRow, Postgres};

use super::network::RetryingPool;
use crate::store::StoreError;

/// Milliseconds since the Unix epoch, by the database's clock.
macro_rules! clock {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}
pub(crate) use clock;

/// The same as a subquery: looked up once a statement, when it begins to work, and so fit for an index.
macro_rules! now {
    () => {
        concat!("(SELECT ", $crate::database::postgres::clock!(), ")")
    };
}
pub(crate) use now;

/// Whether a row that is found by its id is in one of the states of a mask. Written so that no planner
/// takes an index of states for it: that may have a million rows.
macro_rules! state_in {
    ($row:literal, $mask:literal) => {
        concat!("(1::bigint << ", $row, "state::int) & ", $mask, " <> 0")
    };
}
pub(crate) use state_in;

type Checkout = super::network::Checkout<Postgres>;

/// Settings of the server under which a commit can be lost that was reported, each as a text. That
/// `synchronous_commit` is off is none: what depends on it turns it on.
async fn weaknesses(pool: &RetryingPool<Postgres>) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'";
    let rows = pool.fetch(sql, |query| query).await?;
    let settings: Vec<(String, String)> = decoded(&rows)?;
    Ok(settings.into_iter().map(|(name, setting)| format!("PostgreSQL's `{name}` is {setting}")).collect())
}

/// Rows as tuples.
fn decoded<T: for<'r> FromRow<'r, PgRow>>(rows: &[PgRow]) -> Result<Vec<T>, StoreError> {
    Ok(rows.iter().map(T::from_row).collect::<Result<_, _>>()?)
}
