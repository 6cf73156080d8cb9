//! The tables on PostgreSQL.

use sqlx::{PgConnection, PgPool, Postgres};

use super::Lent;
use crate::database::network::{MIGRATION, OwnPool, PATIENCE};
use crate::database::part::{Part, part};
use crate::store::StoreError;

pub(super) const MESSAGE: Part = part!("postgres", "message", "2");
pub(super) const FENCE: Part = part!("postgres", "fence");
pub(super) const INBOX: Part = part!("postgres", "inbox");

/// Applies what is missing. A second process waits, and finds nothing to do.
pub(super) async fn migrate(part: Part, pool: &OwnPool<Postgres>) -> Result<(), StoreError> {
    let work = |mut lent: Lent| async move {
        let migrated = migrate_in(part, &mut lent).await;
        Ok((lent, migrated))
    };
    pool.transaction(MIGRATION, work).await?
}

/// Errs unless the tables have the version that this crate knows.
pub(super) async fn check(part: Part, pool: &OwnPool<Postgres>) -> Result<(), StoreError> {
    let work = |mut lent: Lent| async move {
        let version = version(&mut lent, part).await?;
        Ok((lent, version))
    };
    part.require(pool.transaction(PATIENCE, work).await?)
}

/// The same over a user's pool.
pub(super) async fn migrate_on(part: Part, pool: &PgPool) -> Result<(), StoreError> {
    let mut tx = pool.begin().await?;
    migrate_in(part, &mut tx).await?;
    Ok(tx.commit().await?)
}

/// The same over a user's pool.
pub(super) async fn check_on(part: Part, pool: &PgPool) -> Result<(), StoreError> {
    let mut tx = pool.begin().await?;
    let version = version(&mut tx, part).await?;
    tx.rollback().await?;
    part.require(version)
}

// In a transaction, as all of the schema is; and nothing prepared, for transaction poolers.
async fn migrate_in(part: Part, connection: &mut PgConnection) -> Result<(), StoreError> {
    // Most of the time there is nothing to do, and no right to create tables is needed for it.
    if part.require(version(connection, part).await?).is_ok() {
        return Ok(());
    }
    // Any number will do that nobody else takes: "transact" in ASCII.
    sqlx::raw_sql("SELECT pg_advisory_xact_lock(8390876182754714484)").execute(&mut *connection).await?;
    for script in part.missing(version(connection, part).await?)? {
        sqlx::raw_sql(*script).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn version(connection: &mut PgConnection, part: Part) -> Result<i64, sqlx::Error> {
    // Not `to_regclass`: its cache forgets only when a table is locked, and after the wait for
    // somebody else's migration it would still say that there is none.
    let exists: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class WHERE relname = 'tm_schema' AND pg_table_is_visible(oid))",
    )
    .persistent(false)
    .fetch_one(&mut *connection)
    .await?;
    if !exists {
        return Ok(0);
    }
    let version: Option<i64> = sqlx::query_scalar("SELECT version FROM tm_schema WHERE part = $1")
        .bind(part.name)
        .persistent(false)
        .fetch_optional(connection)
        .await?;
    Ok(version.unwrap_or(0))
}
