//! The tables on SQLite.

use sqlx::{SqliteConnection, SqlitePool};

use super::begin;
use crate::database::schema_part::{SchemaPart, part};
use crate::store::StoreError;

pub(in crate::database) const MESSAGE: SchemaPart = part!("sqlite", "message", ["1", "2", "3", "4", "5"]);
pub(in crate::database) const FENCE: SchemaPart = part!("sqlite", "fence", ["1"]);
pub(in crate::database) const INBOX: SchemaPart = part!("sqlite", "inbox", ["1", "2"]);

/// Applies what is missing, in one transaction; a second process waits and finds nothing to do.
pub(super) async fn migrate(part: SchemaPart, pool: &SqlitePool) -> Result<(), StoreError> {
    // Most of the time there is nothing to do, and no reason to wait for a writer.
    if check(part, pool).await.is_ok() {
        return Ok(());
    }
    let mut tx = begin(pool).await?;
    for script in part.missing(version(part, &mut tx).await?)? {
        sqlx::raw_sql(*script).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Errs unless the tables have the version that this crate knows.
pub(super) async fn check(part: SchemaPart, pool: &SqlitePool) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await?;
    part.require(version(part, &mut connection).await?)
}

async fn version(part: SchemaPart, connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let exists: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'tm_schema')",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !exists {
        return Ok(0);
    }
    let version: Option<i64> = sqlx::query_scalar("SELECT version FROM tm_schema WHERE part = ?")
        .bind(part.name)
        .fetch_optional(connection)
        .await?;
    Ok(version.unwrap_or(0))
}
