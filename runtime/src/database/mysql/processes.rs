//! The processes over a store, on MySQL.

use sqlx::MySql;

use super::now;
use crate::database::millis;
use crate::database::network::RetryingPool;
use crate::database::row::Reader;
use crate::store::{FORGOTTEN_AFTER, ProcessInfo, StoreError, Token};

pub(super) async fn announce(pool: &RetryingPool<MySql>, process: &ProcessInfo) -> Result<(), StoreError> {
    let sql = concat!(
        "INSERT INTO tm_process (token, started_at, seen_at, about) VALUES (?, ",
        now!(),
        ", ",
        now!(),
        ", ?) ON DUPLICATE KEY UPDATE seen_at = VALUES(seen_at), about = VALUES(about)"
    );
    let about = process.to_json();
    pool.execute(sql, |query| query.bind(process.token).bind(&about)).await?;
    let sql = concat!("DELETE FROM tm_process WHERE seen_at < ", now!(), " - ?");
    pool.execute(sql, |query| query.bind(millis(FORGOTTEN_AFTER))).await.map(drop)
}

pub(super) async fn withdraw(pool: &RetryingPool<MySql>, token: Token) -> Result<(), StoreError> {
    pool.execute("DELETE FROM tm_process WHERE token = ?", |query| query.bind(token)).await.map(drop)
}

pub(super) async fn processes(pool: &RetryingPool<MySql>) -> Result<Vec<ProcessInfo>, StoreError> {
    let sql = concat!(
        "SELECT token, started_at, seen_at, about, greatest(0, ",
        now!(),
        " - seen_at) AS silent_for FROM tm_process ORDER BY seen_at DESC, token LIMIT 1000"
    );
    let rows = pool.fetch(sql, |query| query).await?;
    Ok(rows.iter().filter_map(|row| Reader(row).process().transpose()).collect::<Result<_, _>>()?)
}
