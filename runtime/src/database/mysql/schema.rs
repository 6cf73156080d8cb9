//! The tables on MySQL.

use sqlx::{Connection, Executor, MySql, MySqlConnection, MySqlPool};

use super::{Checkout, NO_DATABASE, decoded, patience};
use crate::database::literal::{fill_at, named};
use crate::database::login::{Login, PATIENCE, acquire};
use crate::database::network::{MIGRATION, RetryingPool};
use crate::database::schema_part::{SchemaPart, part};
use crate::message::FenceId;
use crate::sql::{Namespace, TablePlace, TablePrefix, begin_on_pool};
use crate::store::StoreError;

pub(in crate::database) const MESSAGE: SchemaPart = part!("mysql", "message", ["1", "2", "3", "4", "5"]);
pub(in crate::database) const FENCE: SchemaPart = part!("mysql", "fence", ["1"]);
pub(in crate::database) const INBOX: SchemaPart = part!("mysql", "inbox", ["1", "2"]);

/// Applies what is missing. A second process waits, and finds nothing to do.
pub(super) async fn migrate(part: SchemaPart, pool: &RetryingPool<MySql>) -> Result<(), StoreError> {
    let work = |mut checkout: Checkout| async move {
        checkout.execute(concat!("SET ", patience!("70", "70000"))).await?;
        let prefix = checkout.prefix.clone();
        let migrated = migrate_on_connection(part, &mut checkout, &prefix).await;
        checkout.execute(concat!("SET ", patience!("6", "6000"))).await?;
        Ok((checkout, migrated))
    };
    pool.transaction(MIGRATION, work).await?
}

/// Errs unless the tables have the version that this crate knows.
pub(super) async fn check(part: SchemaPart, pool: &RetryingPool<MySql>) -> Result<(), StoreError> {
    let work = |mut checkout: Checkout| async move {
        let prefix = checkout.prefix.clone();
        let checked = check_on_connection(part, &mut checkout, &prefix).await;
        Ok((checkout, checked))
    };
    pool.transaction(PATIENCE, work).await?
}

/// The same over a user's pool; says where the tables are.
pub(super) async fn migrate_on(
    part: SchemaPart,
    pool: &MySqlPool,
    place: &TablePlace,
) -> Result<Namespace, StoreError> {
    let (mut connection, namespace) = moved(pool, place).await?;
    migrate_on_connection(part, &mut connection, &place.prefix).await?;
    connection.close().await?;
    Ok(namespace)
}

/// The same over a user's pool; says where the tables are.
pub(super) async fn check_on(
    part: SchemaPart,
    pool: &MySqlPool,
    place: &TablePlace,
) -> Result<Namespace, StoreError> {
    let (mut connection, namespace) = moved(pool, place).await?;
    check_on_connection(part, &mut connection, &place.prefix).await?;
    connection.close().await?;
    Ok(namespace)
}

/// A connection of the pool's that is closed afterwards, with the database of the tables as its own: neither that nor
/// the lock below must outlive a dropped caller.
async fn moved(pool: &MySqlPool, place: &TablePlace) -> Result<(MySqlConnection, Namespace), StoreError> {
    let mut connection = acquire(pool).await?.detach();
    let namespace = Namespace::mysql(&look(&mut connection, place.schema.as_deref()).await?, &place.prefix);
    sqlx::raw_sql(fill_at(&namespace, "USE $0; SET autocommit = 1", &[])).execute(&mut connection).await?;
    Ok((connection, namespace))
}

/// The database of the tables: the one that the application's connections use.
pub(super) async fn find(login: &Login<MySql>, place: &TablePlace) -> Result<String, StoreError> {
    let schema = place.schema.as_deref();
    let mut own = login.connect().await?;
    let found = match login.pool() {
        Some(pool) => look(&mut *acquire(pool).await?, schema).await,
        None => look(&mut own, schema).await,
    };
    let _ = own.close().await;
    found
}

async fn look(connection: &mut MySqlConnection, schema: Option<&str>) -> Result<String, StoreError> {
    let found: Option<String> = match schema {
        Some(schema) => {
            let sql = "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?";
            sqlx::query_scalar(sql).bind(schema).fetch_optional(connection).await?
        }
        None => sqlx::query_scalar("SELECT DATABASE()").fetch_one(connection).await?,
    };
    found.ok_or_else(|| {
        StoreError::Schema(match schema {
            Some(schema) => format!(
                "there is no database `{schema}` that the user may see: CREATE DATABASE it and GRANT rights on it, or name \
                 another one by `schema`"
            ),
            None => NO_DATABASE.into(),
        })
    })
}

/// Whether a user's pool leads to the fence with this identity. In a transaction: where its sessions commit nothing by
/// themselves, the next borrower would see the database as it is now.
pub(super) async fn leads_to(
    pool: &MySqlPool,
    namespace: &Namespace,
    identity: FenceId,
) -> Result<bool, StoreError> {
    let sql = fill_at(namespace, "SELECT count(*) FROM $0.tm_fence_database WHERE identity = ?", &[]);
    let (mut tx, _turn) = begin_on_pool(pool).await?;
    let found = sqlx::query_scalar(sql).bind(identity).fetch_one(&mut *tx).await;
    tx.rollback().await?;
    Ok(found.map(|count: i64| count == 1)?)
}

/// The name of the lock for migrations: a database's name may take all of the 64 characters that a lock's may have.
macro_rules! lock {
    () => {
        "CONCAT('tm_schema.', LEFT(SHA2(DATABASE(), 256), 32))"
    };
}

async fn migrate_on_connection(
    part: SchemaPart,
    connection: &mut MySqlConnection,
    prefix: &TablePrefix,
) -> Result<(), StoreError> {
    // Most of the time there is nothing to do, and no right to create tables is needed for it.
    if check_on_connection(part, connection, prefix).await.is_ok() {
        return Ok(());
    }
    // Without a database there is nothing to be locked, either.
    version(connection, part, prefix).await?;
    // DDL is not transactional here: the lock is the session's.
    let get = concat!("SELECT GET_LOCK(", lock!(), ", 50)");
    match sqlx::query_scalar::<_, Option<i64>>(get).fetch_one(&mut *connection).await? {
        Some(1) => {}
        Some(_) => {
            return Err(StoreError::Unavailable(
                "another process has held the lock for migrations for 50 s: wait for its end, and call \
                 `Messenger::migrate` again"
                    .into(),
            ));
        }
        None => {
            return Err(StoreError::Unavailable(
                "MySQL answered NULL when it was asked for the lock for migrations (GET_LOCK): it has no memory for \
                 it, or the session was killed"
                    .into(),
            ));
        }
    }
    let applied = apply(part, connection, prefix).await;
    sqlx::query(concat!("DO RELEASE_LOCK(", lock!(), ")")).execute(connection).await?;
    applied
}

async fn apply(
    part: SchemaPart,
    connection: &mut MySqlConnection,
    prefix: &TablePrefix,
) -> Result<(), StoreError> {
    for script in part.missing(version(connection, part, prefix).await?)? {
        sqlx::raw_sql(named(prefix, script)).execute(&mut *connection).await?;
    }
    check_on_connection(part, connection, prefix).await
}

async fn check_on_connection(
    part: SchemaPart,
    connection: &mut MySqlConnection,
    prefix: &TablePrefix,
) -> Result<(), StoreError> {
    part.require(version(connection, part, prefix).await?)?;
    // A server without InnoDB may have taken another engine, whose tables know no transactions.
    let other = "SELECT TABLE_NAME, ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND \
                 TABLE_NAME IN ('tm_schema', 'tm_message', 'tm_fence', 'tm_fence_database', 'tm_inbox', 'tm_inbox_pruned', \
                 'tm_inbox_entered') AND ENGINE <> 'InnoDB'";
    let rows = sqlx::query(named(prefix, other)).fetch_all(connection).await?;
    match decoded::<(String, String)>(&rows)?.first() {
        None => Ok(()),
        Some((table, engine)) => Err(StoreError::Schema(format!(
            "the table {table} has the engine {engine}, which has no transactions: ALTER TABLE {table} ENGINE = InnoDB"
        ))),
    }
}

async fn version(
    connection: &mut MySqlConnection,
    part: SchemaPart,
    prefix: &TablePrefix,
) -> Result<i64, StoreError> {
    let exists = "SELECT IF(DATABASE() IS NULL, NULL, count(*)) FROM information_schema.TABLES \
                  WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'tm_schema'";
    let exists: Option<i64> = sqlx::query_scalar(named(prefix, exists)).fetch_one(&mut *connection).await?;
    match exists {
        None => return Err(StoreError::Schema(NO_DATABASE.into())),
        Some(0) => return Ok(0),
        Some(_) => {}
    }
    let version: Option<i64> =
        sqlx::query_scalar(named(prefix, "SELECT version FROM tm_schema WHERE part = ?"))
            .bind(part.name)
            .fetch_optional(connection)
            .await?;
    Ok(version.unwrap_or(0))
}
