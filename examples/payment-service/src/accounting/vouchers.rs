//! Accounting's table.

use serde::{Deserialize, Serialize};
use sqlx::{SqliteConnection, SqlitePool};
use uuid::Uuid;

/// What was booked for a payment, and what the message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub(crate) struct Voucher {
    pub(crate) payment_id: Uuid,
    pub(crate) order_id: String,
    pub(crate) account: String,
    pub(crate) amount_cents: i64,
}

pub(crate) async fn create_tables(db: &SqlitePool) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS voucher (
             number INTEGER PRIMARY KEY,
             payment_id BLOB NOT NULL UNIQUE,
             order_id TEXT NOT NULL,
             account TEXT NOT NULL,
             amount_cents INTEGER NOT NULL
         ) STRICT;",
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn insert(tx: &mut SqliteConnection, voucher: &Voucher) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO voucher (payment_id, order_id, account, amount_cents) VALUES (?, ?, ?, ?)")
        .bind(voucher.payment_id)
        .bind(&voucher.order_id)
        .bind(&voucher.account)
        .bind(voucher.amount_cents)
        .execute(tx)
        .await?;
    Ok(())
}

pub(crate) async fn find(db: &SqlitePool, payment_id: Uuid) -> Result<Option<Voucher>, sqlx::Error> {
    sqlx::query_as("SELECT payment_id, order_id, account, amount_cents FROM voucher WHERE payment_id = ?")
        .bind(payment_id)
        .fetch_optional(db)
        .await
}

pub(crate) async fn newest(db: &SqlitePool, limit: u32) -> Result<Vec<Voucher>, sqlx::Error> {
    sqlx::query_as(
        "SELECT payment_id, order_id, account, amount_cents FROM voucher ORDER BY number DESC LIMIT ?",
    )
    .bind(limit)
    .fetch_all(db)
    .await
}
