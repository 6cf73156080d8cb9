//! The tables on PostgreSQL.

use sqlx::{Connection, PgConnection, PgPool, Postgres, Row, Transaction};

use super::Checkout;
use crate::database::literal::{Literal, fill, fill_at, named};
use crate::database::login::{Login, PATIENCE, acquire};
use crate::database::network::{MIGRATION, RetryingPool};
use crate::database::schema_part::{SchemaPart, part};
use crate::message::FenceId;
use crate::sql::{Namespace, TablePlace, TablePrefix};
use crate::store::StoreError;

pub(in crate::database) const MESSAGE: SchemaPart = part!("postgres", "message", ["1", "2", "3", "4", "5"]);
pub(in crate::database) const FENCE: SchemaPart = part!("postgres", "fence", ["1", "2", "3", "4", "5"]);
pub(in crate::database) const INBOX: SchemaPart = part!("postgres", "inbox", ["1", "2"]);

/// Applies what is missing. A second process waits, and finds nothing to do.
pub(super) async fn migrate(part: SchemaPart, pool: &RetryingPool<Postgres>) -> Result<(), StoreError> {
    let work = |mut checkout: Checkout| async move {
        let prefix = checkout.prefix.clone();
        let migrated = migrate_in(part, &mut checkout, &prefix).await;
        Ok((checkout, migrated))
    };
    pool.transaction(MIGRATION, work).await?
}

/// Errs unless the tables have the version that this crate knows.
pub(super) async fn check(part: SchemaPart, pool: &RetryingPool<Postgres>) -> Result<(), StoreError> {
    let work = |mut checkout: Checkout| async move {
        let prefix = checkout.prefix.clone();
        let version = version(&mut checkout, part, &prefix).await?;
        Ok((checkout, version))
    };
    part.require(pool.transaction(PATIENCE, work).await?)
}

/// The same over a user's pool; says where the tables are.
pub(super) async fn migrate_on(
    part: SchemaPart,
    pool: &PgPool,
    place: &TablePlace,
) -> Result<Namespace, StoreError> {
    let (mut tx, namespace) = begin_on(part, pool, place).await?;
    migrate_in(part, &mut tx, &place.prefix).await?;
    tx.commit().await?;
    Ok(namespace)
}

/// The same over a user's pool; says where the tables are.
pub(super) async fn check_on(
    part: SchemaPart,
    pool: &PgPool,
    place: &TablePlace,
) -> Result<Namespace, StoreError> {
    let (mut tx, namespace) = begin_on(part, pool, place).await?;
    let version = version(&mut tx, part, &place.prefix).await?;
    tx.rollback().await?;
    part.require(version)?;
    Ok(namespace)
}

/// A transaction in which the tables' place is the current schema.
async fn begin_on(
    part: SchemaPart,
    pool: &PgPool,
    place: &TablePlace,
) -> Result<(Transaction<'static, Postgres>, Namespace), StoreError> {
    let mut tx = pool.begin().await?;
    let namespace = look(&mut tx, part, place).await?;
    let set = fill_at(&namespace, "SET LOCAL search_path = $0", &[]);
    sqlx::raw_sql(set).execute(&mut *tx).await?;
    Ok((tx, namespace))
}

/// Where the tables are, or will be: as the application's connections see it.
pub(super) async fn find(
    login: &Login<Postgres>,
    place: &TablePlace,
    part: SchemaPart,
) -> Result<Namespace, StoreError> {
    let mut own = login.connect().await?;
    let found = match login.pool() {
        Some(pool) => look(&mut *acquire(pool).await?, part, place).await,
        None => look(&mut own, part, place).await,
    };
    let _ = own.close().await;
    found
}

/// In the text, and at once: behind a transaction pooler, too.
async fn look(
    connection: &mut PgConnection,
    part: SchemaPart,
    place: &TablePlace,
) -> Result<Namespace, StoreError> {
    let schema = place.schema.as_deref();
    let table = place.prefix.apply(part.table);
    let sql = match schema {
        Some(schema) => fill(
            "SELECT nspname::text FROM pg_catalog.pg_namespace WHERE nspname = $1",
            &[Literal::Text(schema)],
        ),
        None => fill(
            "SELECT coalesce((SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
             ON n.oid = c.relnamespace WHERE c.relname = $1 AND pg_catalog.pg_table_is_visible(c.oid)), \
             pg_catalog.current_schema())::text",
            &[Literal::Text(&table)],
        ),
    };
    let rows = sqlx::raw_sql(sql).fetch_all(connection).await?;
    let found: Option<String> = rows.first().map(|row| row.try_get(0)).transpose()?.flatten();
    found.map(|name| Namespace::postgres(&name, &place.prefix)).ok_or_else(|| {
        StoreError::Schema(match schema {
            Some(schema) => format!(
                "there is no schema `{schema}` in this database: CREATE SCHEMA it, or name another one by `schema`"
            ),
            None => "the `search_path` of its connections names no schema that is there, and that the user may use: \
                     name one by `schema`, or GRANT USAGE ON SCHEMA it"
                .into(),
        })
    })
}

/// Whether a user's pool leads to the fence with this identity.
pub(super) async fn leads_to(
    pool: &PgPool,
    namespace: &Namespace,
    identity: FenceId,
) -> Result<bool, StoreError> {
    let sql = fill_at(
        namespace,
        "SELECT identity = $1 FROM $0.tm_fence_database",
        &[Literal::Id(identity.as_uuid())],
    );
    let rows = sqlx::raw_sql(sql).fetch_all(&mut *acquire(pool).await?).await?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(false))
}

// In a transaction, as all of the schema is; and nothing prepared, for transaction poolers.
async fn migrate_in(
    part: SchemaPart,
    connection: &mut PgConnection,
    prefix: &TablePrefix,
) -> Result<(), StoreError> {
    // Most of the time there is nothing to do, and no right to create tables is needed for it.
    if part.require(version(connection, part, prefix).await?).is_ok() {
        return Ok(());
    }
    // Longer than we wait ourselves, whatever an application's pool has set for its statements.
    let patience = "SET LOCAL statement_timeout = '70s'; SET LOCAL lock_timeout = '70s'";
    sqlx::raw_sql(patience).execute(&mut *connection).await?;
    // Any number will do that nobody else takes: "transact" in ASCII.
    sqlx::raw_sql("SELECT pg_advisory_xact_lock(8390876182754714484)").execute(&mut *connection).await?;
    for script in part.missing(version(connection, part, prefix).await?)? {
        sqlx::raw_sql(named(prefix, script)).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn version(
    connection: &mut PgConnection,
    part: SchemaPart,
    prefix: &TablePrefix,
) -> Result<i64, sqlx::Error> {
    // In the schema that is ours, not in another one of the search path. Not `to_regclass`: its cache forgets only when a table is locked, and after the wait for
    // somebody else's migration it would still say that there is none.
    let exists = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                  WHERE c.relname = 'tm_schema' AND n.nspname = pg_catalog.current_schema())";
    let exists: bool =
        sqlx::query_scalar(named(prefix, exists)).persistent(false).fetch_one(&mut *connection).await?;
    if !exists {
        return Ok(0);
    }
    let version: Option<i64> =
        sqlx::query_scalar(named(prefix, "SELECT version FROM tm_schema WHERE part = $1"))
            .bind(part.name)
            .persistent(false)
            .fetch_optional(connection)
            .await?;
    Ok(version.unwrap_or(0))
}
