//! The processes over a store, on PostgreSQL.

use sqlx::Postgres;

use super::now;
use crate::database::millis;
use crate::database::network::RetryingPool;
use crate::database::row::Reader;
use crate::store::{FORGOTTEN_AFTER, ProcessInfo, StoreError, Token};

pub(super) async fn announce(pool: &RetryingPool<Postgres>, process: &ProcessInfo) -> Result<(), StoreError> {
    let sql = concat!(
        // The clock is looked at once: twice, it may say two things.
        "INSERT INTO tm_process (token, started_at, seen_at, about) SELECT $1, clock.now, clock.now, $2 FROM (SELECT ",
        now!(),
        " AS now) clock ON CONFLICT (token) DO UPDATE SET seen_at = excluded.seen_at, about = excluded.about"
    );
    let about = process.to_json();
    pool.execute(sql, |query| query.bind(process.token).bind(&about)).await?;
    let sql = concat!("DELETE FROM tm_process WHERE seen_at < ", now!(), " - $1");
    pool.execute(sql, |query| query.bind(millis(FORGOTTEN_AFTER))).await.map(drop)
}

pub(super) async fn withdraw(pool: &RetryingPool<Postgres>, token: Token) -> Result<(), StoreError> {
    pool.execute("DELETE FROM tm_process WHERE token = $1", |query| query.bind(token)).await.map(drop)
}

pub(super) async fn processes(pool: &RetryingPool<Postgres>) -> Result<Vec<ProcessInfo>, StoreError> {
    let sql = concat!(
        "SELECT token, started_at, seen_at, about, greatest(0, ",
        now!(),
        " - seen_at) AS silent_for FROM tm_process ORDER BY seen_at DESC, token LIMIT 1000"
    );
    let rows = pool.fetch(sql, |query| query).await?;
    Ok(rows.iter().filter_map(|row| Reader(row).process().transpose()).collect::<Result<_, _>>()?)
}
