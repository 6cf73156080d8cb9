//! The tables on MySQL.

use sqlx::{Connection, Executor, MySqlConnection, MySqlPool};

use super::{Lent, decoded};
use crate::database::network::{MIGRATION, OwnPool, PATIENCE};
use crate::database::part::{Part, part};
use crate::fence::begin_on_pool;
use crate::store::StoreError;

pub(super) const MESSAGE: Part = part!("mysql", "message", "2");
pub(super) const FENCE: Part = part!("mysql", "fence");
pub(super) const INBOX: Part = part!("mysql", "inbox");

/// Applies what is missing. A second process waits, and finds nothing to do.
pub(super) async fn migrate(part: Part, pool: &OwnPool<sqlx::MySql>) -> Result<(), StoreError> {
    let work = |mut lent: Lent| async move {
        let migrated = migrate_on_connection(part, &mut lent).await;
        Ok((lent, migrated))
    };
    pool.transaction(MIGRATION, work).await?
}

/// Errs unless the tables have the version that this crate knows.
pub(super) async fn check(part: Part, pool: &OwnPool<sqlx::MySql>) -> Result<(), StoreError> {
    let work = |mut lent: Lent| async move {
        let checked = check_on_connection(part, &mut lent).await;
        Ok((lent, checked))
    };
    pool.transaction(PATIENCE, work).await?
}

/// The same over a user's pool.
pub(super) async fn migrate_on(part: Part, pool: &MySqlPool) -> Result<(), StoreError> {
    // A connection of its own: the lock below is the session's, and must not outlive a dropped caller.
    let mut connection = pool.acquire().await?.detach();
    connection.execute("SET autocommit = 1").await?;
    migrate_on_connection(part, &mut connection).await?;
    Ok(connection.close().await?)
}

/// The same over a user's pool. In a transaction: where its sessions commit nothing by themselves, the next borrower
/// would see the database as it is now.
pub(super) async fn check_on(part: Part, pool: &MySqlPool) -> Result<(), StoreError> {
    let (mut tx, _turn) = begin_on_pool(pool).await?;
    let checked = check_on_connection(part, &mut tx).await;
    tx.rollback().await?;
    checked
}

async fn migrate_on_connection(part: Part, connection: &mut MySqlConnection) -> Result<(), StoreError> {
    // Most of the time there is nothing to do, and no right to create tables is needed for it.
    if check_on_connection(part, connection).await.is_ok() {
        return Ok(());
    }
    // DDL is not transactional here: the lock is the session's.
    let locked: Option<i64> = sqlx::query_scalar("SELECT GET_LOCK(CONCAT('tm_schema.', DATABASE()), 50)")
        .fetch_one(&mut *connection)
        .await?;
    if locked != Some(1) {
        return Err(StoreError::Unavailable("somebody else has been migrating for 50 s".into()));
    }
    let applied = apply(part, connection).await;
    sqlx::query("DO RELEASE_LOCK(CONCAT('tm_schema.', DATABASE()))").execute(connection).await?;
    applied
}

async fn apply(part: Part, connection: &mut MySqlConnection) -> Result<(), StoreError> {
    for script in part.missing(version(connection, part).await?)? {
        sqlx::raw_sql(*script).execute(&mut *connection).await?;
    }
    check_on_connection(part, connection).await
}

async fn check_on_connection(part: Part, connection: &mut MySqlConnection) -> Result<(), StoreError> {
    part.require(version(connection, part).await?)?;
    // A server without InnoDB may have taken another engine, whose tables know no transactions.
    let rows = sqlx::query(
        "SELECT TABLE_NAME, ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND \
         TABLE_NAME LIKE 'tm\\_%' AND ENGINE <> 'InnoDB'",
    )
    .fetch_all(connection)
    .await?;
    match decoded::<(String, String)>(&rows)?.first() {
        None => Ok(()),
        Some((table, engine)) => Err(StoreError::Schema(format!(
            "the table {table} has the engine {engine}, which has no transactions: ALTER TABLE {table} ENGINE = InnoDB"
        ))),
    }
}

async fn version(connection: &mut MySqlConnection, part: Part) -> Result<i64, sqlx::Error> {
    let exists: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'tm_schema'",
    )
    .fetch_one(&mut *connection)
    .await?;
    if exists == 0 {
        return Ok(0);
    }
    let version: Option<i64> = sqlx::query_scalar("SELECT version FROM tm_schema WHERE part = ?")
        .bind(part.name)
        .fetch_optional(connection)
        .await?;
    Ok(version.unwrap_or(0))
}
