//! The payments' tables.

use serde::Serialize;
use sqlx::{Executor, Sqlite, SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::Pay;

/// What a new account has.
const FIRST_BALANCE: i64 = 1_000_000;

/// A payment that was made.
#[expect(clippy::struct_field_names, reason = "the names are those of the HTTP interface")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub(crate) struct Payment {
    pub(crate) payment_id: Uuid,
    pub(crate) order_id: String,
    pub(crate) account: String,
    pub(crate) amount_cents: i64,
}

impl From<Pay> for Payment {
    fn from(Pay { payment_id, order_id, account, amount_cents }: Pay) -> Self {
        Self { payment_id, order_id, account, amount_cents }
    }
}

pub(crate) async fn create_tables(db: &SqlitePool) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS account (name TEXT PRIMARY KEY, balance_cents INTEGER NOT NULL) STRICT;
         CREATE TABLE IF NOT EXISTS payment (
             number INTEGER PRIMARY KEY,
             payment_id BLOB NOT NULL UNIQUE,
             order_id TEXT NOT NULL,
             account TEXT NOT NULL REFERENCES account,
             amount_cents INTEGER NOT NULL
         ) STRICT;",
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Takes the amount off the account. `false`: its balance is too low, and nothing was done.
pub(super) async fn withdraw(
    tx: &mut SqliteConnection,
    account: &str,
    amount: i64,
) -> Result<bool, sqlx::Error> {
    sqlx::query("INSERT INTO account (name, balance_cents) VALUES (?, ?) ON CONFLICT DO NOTHING")
        .bind(account)
        .bind(FIRST_BALANCE)
        .execute(&mut *tx)
        .await?;
    let withdrawn = sqlx::query(
        "UPDATE account SET balance_cents = balance_cents - ?1 WHERE name = ?2 AND balance_cents >= ?1",
    )
    .bind(amount)
    .bind(account)
    .execute(tx)
    .await?;
    Ok(withdrawn.rows_affected() == 1)
}

pub(super) async fn insert(tx: &mut SqliteConnection, payment: &Payment) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO payment (payment_id, order_id, account, amount_cents) VALUES (?, ?, ?, ?)")
        .bind(payment.payment_id)
        .bind(&payment.order_id)
        .bind(&payment.account)
        .bind(payment.amount_cents)
        .execute(tx)
        .await?;
    Ok(())
}

pub(crate) async fn find(
    db: impl Executor<'_, Database = Sqlite>,
    payment_id: Uuid,
) -> Result<Option<Payment>, sqlx::Error> {
    sqlx::query_as("SELECT payment_id, order_id, account, amount_cents FROM payment WHERE payment_id = ?")
        .bind(payment_id)
        .fetch_optional(db)
        .await
}

pub(crate) async fn newest(db: &SqlitePool, limit: u32) -> Result<Vec<Payment>, sqlx::Error> {
    sqlx::query_as(
        "SELECT payment_id, order_id, account, amount_cents FROM payment ORDER BY number DESC LIMIT ?",
    )
    .bind(limit)
    .fetch_all(db)
    .await
}
