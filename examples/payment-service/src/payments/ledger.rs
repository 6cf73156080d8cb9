//! The payments' tables, and the statements on them: the same text on SQLite and PostgreSQL.

use serde::Serialize;
use sqlx::{Pool, Postgres, Sqlite};
use transactional_message::BusinessDatabase;
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

type Answer<T> = Result<T, sqlx::Error>;

/// A database with the payments' tables.
pub(crate) trait Ledger: BusinessDatabase {
    fn create_tables(pool: &Pool<Self>) -> impl Future<Output = Answer<()>> + Send;

    /// Writes the payment down. `false`: there is one with this id.
    fn insert(tx: &mut Self::Connection, payment: &Payment) -> impl Future<Output = Answer<bool>> + Send;

    /// Takes the amount off the account. `false`: its balance is too low.
    fn withdraw(tx: &mut Self::Connection, payment: &Payment) -> impl Future<Output = Answer<bool>> + Send;

    fn find(tx: &mut Self::Connection, id: Uuid) -> impl Future<Output = Answer<Option<Payment>>> + Send;

    fn newest(pool: &Pool<Self>, limit: u32) -> impl Future<Output = Answer<Vec<Payment>>> + Send;
}

macro_rules! ledger {
    ($database:ty, $tables:literal) => {
        impl Ledger for $database {
            async fn create_tables(pool: &Pool<Self>) -> Answer<()> {
                sqlx::raw_sql($tables).execute(pool).await?;
                Ok(())
            }

            async fn insert(tx: &mut Self::Connection, payment: &Payment) -> Answer<bool> {
                let opened = "INSERT INTO account (name, balance_cents) VALUES ($1, $2) ON CONFLICT DO NOTHING";
                sqlx::query(opened).bind(&payment.account).bind(FIRST_BALANCE).execute(&mut *tx).await?;
                let inserted = sqlx::query(
                    "INSERT INTO payment (payment_id, order_id, account, amount_cents) VALUES ($1, $2, $3, $4) \
                     ON CONFLICT (payment_id) DO NOTHING",
                )
                .bind(payment.payment_id)
                .bind(&payment.order_id)
                .bind(&payment.account)
                .bind(payment.amount_cents)
                .execute(tx)
                .await?;
                Ok(inserted.rows_affected() == 1)
            }

            async fn withdraw(tx: &mut Self::Connection, payment: &Payment) -> Answer<bool> {
                let withdrawn = sqlx::query(
                    "UPDATE account SET balance_cents = balance_cents - $1 WHERE name = $2 AND balance_cents >= $1",
                )
                .bind(payment.amount_cents)
                .bind(&payment.account)
                .execute(tx)
                .await?;
                Ok(withdrawn.rows_affected() == 1)
            }

            async fn find(tx: &mut Self::Connection, id: Uuid) -> Answer<Option<Payment>> {
                sqlx::query_as(
                    "SELECT payment_id, order_id, account, amount_cents FROM payment WHERE payment_id = $1",
                )
                .bind(id)
                .fetch_optional(tx)
                .await
            }

            async fn newest(pool: &Pool<Self>, limit: u32) -> Answer<Vec<Payment>> {
                sqlx::query_as(
                    "SELECT payment_id, order_id, account, amount_cents FROM payment ORDER BY number DESC LIMIT $1",
                )
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await
            }
        }
    };
}

ledger!(
    Sqlite,
    "CREATE TABLE IF NOT EXISTS account (name TEXT PRIMARY KEY, balance_cents INTEGER NOT NULL) STRICT;
     CREATE TABLE IF NOT EXISTS payment (
         number INTEGER PRIMARY KEY,
         payment_id BLOB NOT NULL UNIQUE,
         order_id TEXT NOT NULL,
         account TEXT NOT NULL REFERENCES account,
         amount_cents INTEGER NOT NULL
     ) STRICT;"
);
ledger!(
    Postgres,
    "SELECT pg_advisory_xact_lock(20260101);
     CREATE TABLE IF NOT EXISTS account (name text PRIMARY KEY, balance_cents bigint NOT NULL);
     CREATE TABLE IF NOT EXISTS payment (
         number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
         payment_id uuid NOT NULL UNIQUE,
         order_id text NOT NULL,
         account text NOT NULL REFERENCES account,
         amount_cents bigint NOT NULL
     );"
);
