//! Accounting's table, and the statements on it: the same text on SQLite and PostgreSQL.

use serde::{Deserialize, Serialize};
use sqlx::{Pool, Postgres, Sqlite};
use transactional_message::BusinessDatabase;
use uuid::Uuid;

/// What was booked for a payment, and what the message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub(crate) struct Voucher {
    pub(crate) payment_id: Uuid,
    pub(crate) order_id: String,
    pub(crate) account: String,
    pub(crate) amount_cents: i64,
}

type Answer<T> = Result<T, sqlx::Error>;

/// A database with accounting's table.
pub(crate) trait Vouchers: BusinessDatabase {
    fn create_tables(pool: &Pool<Self>) -> impl Future<Output = Answer<()>> + Send;

    fn insert(tx: &mut Self::Connection, voucher: &Voucher) -> impl Future<Output = Answer<()>> + Send;

    fn find(pool: &Pool<Self>, payment_id: Uuid) -> impl Future<Output = Answer<Option<Voucher>>> + Send;

    fn newest(pool: &Pool<Self>, limit: u32) -> impl Future<Output = Answer<Vec<Voucher>>> + Send;
}

macro_rules! vouchers {
    ($database:ty, $table:literal) => {
        impl Vouchers for $database {
            async fn create_tables(pool: &Pool<Self>) -> Answer<()> {
                sqlx::raw_sql($table).execute(pool).await?;
                Ok(())
            }

            async fn insert(tx: &mut Self::Connection, voucher: &Voucher) -> Answer<()> {
                sqlx::query(
                    "INSERT INTO voucher (payment_id, order_id, account, amount_cents) VALUES ($1, $2, $3, $4)",
                )
                .bind(voucher.payment_id)
                .bind(&voucher.order_id)
                .bind(&voucher.account)
                .bind(voucher.amount_cents)
                .execute(tx)
                .await?;
                Ok(())
            }

            async fn find(pool: &Pool<Self>, payment_id: Uuid) -> Answer<Option<Voucher>> {
                sqlx::query_as(
                    "SELECT payment_id, order_id, account, amount_cents FROM voucher WHERE payment_id = $1",
                )
                .bind(payment_id)
                .fetch_optional(pool)
                .await
            }

            async fn newest(pool: &Pool<Self>, limit: u32) -> Answer<Vec<Voucher>> {
                sqlx::query_as(
                    "SELECT payment_id, order_id, account, amount_cents FROM voucher ORDER BY number DESC LIMIT $1",
                )
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await
            }
        }
    };
}

vouchers!(
    Sqlite,
    "CREATE TABLE IF NOT EXISTS voucher (
         number INTEGER PRIMARY KEY,
         payment_id BLOB NOT NULL UNIQUE,
         order_id TEXT NOT NULL,
         account TEXT NOT NULL,
         amount_cents INTEGER NOT NULL
     ) STRICT;"
);
vouchers!(
    Postgres,
    "SELECT pg_advisory_xact_lock(20260102);
     CREATE TABLE IF NOT EXISTS voucher (
         number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
         payment_id uuid NOT NULL UNIQUE,
         order_id text NOT NULL,
         account text NOT NULL,
         amount_cents bigint NOT NULL
     );"
);
