//! Our own sessions on PostgreSQL: what they are told first, and where they find the tables.

use sqlx::{ConnectOptions, Postgres};

use super::schema;
use crate::database::literal::{Literal, fill};
use crate::database::login::Login;
use crate::database::network::RetryingPool;
use crate::database::schema_part::SchemaPart;
use crate::sql::{Namespace, TablePlace};
use crate::store::StoreError;

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

/// The way in, and where the tables are.
pub(super) async fn find(
    login: Login<Postgres>,
    place: &TablePlace,
    part: SchemaPart,
) -> Result<(Login<Postgres>, Namespace), StoreError> {
    let namespace = schema::find(&login, place, part).await?;
    let login = login.with(ConnectOptions::disable_statement_logging).named(&place.prefix);
    Ok((login, namespace))
}

pub(super) fn pool(
    login: &Login<Postgres>,
    namespace: &Namespace,
    connections: u32,
    pooled: bool,
) -> RetryingPool<Postgres> {
    let schema = namespace.to_string();
    let schema = [Literal::Text(&schema)];
    if pooled {
        RetryingPool::pooled(login, connections, fill(TRANSACTION, &schema))
    } else {
        RetryingPool::new(login, connections, fill(SESSION, &schema))
    }
}
