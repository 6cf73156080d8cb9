//! The processes over a store, on SQLite.

use sqlx::SqlitePool;

use super::store::SqliteStore;
use super::{PATIENCE, now, patiently};
use crate::database::millis;
use crate::database::row::Reader;
use crate::store::{FORGOTTEN_AFTER, ProcessInfo, StoreError, Token};

pub(super) async fn announce(store: &SqliteStore, process: &ProcessInfo) -> Result<(), StoreError> {
    let _turn = store.queue.take(PATIENCE).await?;
    let sql = concat!(
        "INSERT INTO tm_process (token, started_at, seen_at, about) VALUES (?1, ",
        now!(),
        ", ",
        now!(),
        ", ?2) ON CONFLICT (token) DO UPDATE SET seen_at = excluded.seen_at, about = excluded.about"
    );
    let about = process.to_json();
    // Who is told too late is told again: it need not be on disk.
    patiently(|| sqlx::query(sql).bind(process.token).bind(&about).execute(&store.relaxed)).await?;
    let sql = concat!("DELETE FROM tm_process WHERE seen_at < ", now!(), " - ?1");
    patiently(|| sqlx::query(sql).bind(millis(FORGOTTEN_AFTER)).execute(&store.relaxed)).await.map(drop)
}

pub(super) async fn withdraw(store: &SqliteStore, token: Token) -> Result<(), StoreError> {
    let _turn = store.queue.take(PATIENCE).await?;
    let sql = "DELETE FROM tm_process WHERE token = ?1";
    patiently(|| sqlx::query(sql).bind(token).execute(&store.relaxed)).await.map(drop)
}

pub(super) async fn processes(pool: &SqlitePool) -> Result<Vec<ProcessInfo>, StoreError> {
    let sql = concat!(
        "SELECT token, started_at, seen_at, about, max(0, ",
        now!(),
        " - seen_at) AS silent_for FROM tm_process ORDER BY seen_at DESC, token LIMIT 1000"
    );
    let rows = sqlx::query(sql).fetch_all(pool).await?;
    Ok(rows.iter().filter_map(|row| Reader(row).process().transpose()).collect::<Result<_, _>>()?)
}
