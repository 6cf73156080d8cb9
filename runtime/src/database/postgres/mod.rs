//! PostgreSQL: every operation is one statement, and so one transaction.
//!
//! Nothing depends on a session: it works behind a transaction pooler, too. Rows are locked in the
//! order of their ids, so that statements over the same rows wait for each other, and never in a
//! circle.

pub(super) mod errors;
mod fence;
mod inbox;
mod operate;
mod row;
mod schema;
mod store;

pub(crate) use fence::PostgresFence;
pub(crate) use store::PostgresStore;

use sqlx::postgres::PgRow;
use sqlx::{ConnectOptions, FromRow, Postgres};

use super::literal::{Literal, fill};
use super::login::Login;
use super::namespace::Namespace;
use super::network::OwnPool;
use super::part::Part;
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

/// Whatever the server's defaults are: what is committed is on disk, and a statement sees what was
/// committed before it. And statements are planned once, by their indexes: a plan that was made while
/// the table was small would read all of it for as long as nobody analyzes it.
///
/// The tables are looked for where the application's connections have them (`$1`), before all other schemas. And the
/// server ends a statement that nobody waits for any more.
const SESSION: &str = "SELECT set_config('search_path', concat_ws(', ', $1, nullif(current_setting('search_path'), '')), false); \
    SET statement_timeout = '6s'; SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'; \
    SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED; \
    SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off";
/// And a process that stands still in the middle of it keeps neither its locks for long, nor its place
/// among the pooler's few connections.
const TRANSACTION: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
    SELECT set_config('search_path', concat_ws(', ', $1, nullif(current_setting('search_path'), '')), true); \
    SET LOCAL statement_timeout = '6s'; \
    SELECT set_config('idle_in_transaction_session_timeout', '3s', true); \
    SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'";

type Lent = super::network::Lent<Postgres>;

/// The way in, and where the tables are.
async fn find(
    login: Login<Postgres>,
    schema: Option<&str>,
    part: Part,
) -> Result<(Login<Postgres>, Namespace), StoreError> {
    let namespace = schema::find(&login, schema, part).await?;
    Ok((login.with(ConnectOptions::disable_statement_logging), namespace))
}

async fn pool(
    login: &Login<Postgres>,
    namespace: &Namespace,
    connections: u32,
    pooled: bool,
) -> Result<OwnPool<Postgres>, StoreError> {
    let schema = namespace.to_string();
    let schema = [Literal::Text(&schema)];
    if pooled {
        OwnPool::pooled(login, connections, fill(TRANSACTION, &schema)).await
    } else {
        OwnPool::new(login, connections, fill(SESSION, &schema)).await
    }
}

/// Settings of the server under which a commit can be lost that was reported, each as a text. That
/// `synchronous_commit` is off is none: what depends on it turns it on.
async fn weaknesses(pool: &OwnPool<Postgres>) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'";
    let rows = pool.fetch(sql, |query| query).await?;
    let settings: Vec<(String, String)> = decoded(&rows)?;
    Ok(settings.into_iter().map(|(name, setting)| format!("PostgreSQL's `{name}` is {setting}")).collect())
}

/// Rows as tuples.
fn decoded<T: for<'r> FromRow<'r, PgRow>>(rows: &[PgRow]) -> Result<Vec<T>, StoreError> {
    Ok(rows.iter().map(T::from_row).collect::<Result<_, _>>()?)
}
