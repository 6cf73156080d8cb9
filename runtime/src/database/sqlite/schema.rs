//! The tables, and their own bookkeeping, which leaves the application's migrations alone.

use sqlx::{Connection, SqliteConnection, SqlitePool};

use crate::store::StoreError;

/// A set of tables that is migrated on its own, since it may live in a database of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    name: &'static str,
    /// One script a version, each applied once, in order.
    versions: &'static [&'static str],
}

pub(super) const MESSAGE: Part =
    Part { name: "message", versions: &[include_str!("../../../migrations/sqlite/message_1.sql")] };
pub(super) const FENCE: Part =
    Part { name: "fence", versions: &[include_str!("../../../migrations/sqlite/fence_1.sql")] };
pub(super) const INBOX: Part =
    Part { name: "inbox", versions: &[include_str!("../../../migrations/sqlite/inbox_1.sql")] };

impl Part {
    /// Applies what is missing, in one transaction; a second process waits and finds nothing to do.
    pub(super) async fn migrate(self, pool: &SqlitePool) -> Result<(), StoreError> {
        // Most of the time there is nothing to do, and no reason to wait for a writer.
        if self.check(pool).await.is_ok() {
            return Ok(());
        }
        let mut connection = pool.acquire().await?;
        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::raw_sql(
            "CREATE TABLE IF NOT EXISTS tm_schema (part TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT",
        )
        .execute(&mut *tx)
        .await?;
        let version = self.version(&mut tx).await?;
        self.refuse_newer(version)?;
        for script in self.versions.iter().skip(version) {
            sqlx::raw_sql(*script).execute(&mut *tx).await?;
        }
        sqlx::query("INSERT INTO tm_schema (part, version) VALUES (?1, ?2) ON CONFLICT (part) DO UPDATE SET version = ?2")
            .bind(self.name)
            .bind(i64::try_from(self.versions.len()).unwrap_or(i64::MAX))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Errs unless the tables have the version that this crate knows.
    pub(super) async fn check(self, pool: &SqlitePool) -> Result<(), StoreError> {
        let mut connection = pool.acquire().await?;
        let exists: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'tm_schema')",
        )
        .fetch_one(&mut *connection)
        .await?;
        let version = if exists { self.version(&mut connection).await? } else { 0 };
        self.refuse_newer(version)?;
        if version < self.versions.len() {
            return Err(StoreError::Schema(format!(
                "the tables for `{}` are at version {version}, this crate needs {}: call `Messenger::migrate` first",
                self.name,
                self.versions.len()
            )));
        }
        Ok(())
    }

    async fn version(self, connection: &mut SqliteConnection) -> Result<usize, StoreError> {
        let version: Option<i64> = sqlx::query_scalar("SELECT version FROM tm_schema WHERE part = ?")
            .bind(self.name)
            .fetch_optional(connection)
            .await?;
        Ok(usize::try_from(version.unwrap_or(0)).unwrap_or(0))
    }

    fn refuse_newer(self, version: usize) -> Result<(), StoreError> {
        if version <= self.versions.len() {
            return Ok(());
        }
        Err(StoreError::Schema(format!(
            "the tables for `{}` are at version {version}, newer than this crate knows ({}): update transactional-message",
            self.name,
            self.versions.len()
        )))
    }
}
