//! The business: its tables and statements, the same on each database.

use serde::{Deserialize, Serialize};
use sqlx::{MySql, Pool, Postgres, Sqlite};
use transactional_message::{BusinessDatabase, DatabaseSource};
use uuid::Uuid;

/// Makes a message's JSON about 256 bytes long.
const NOTE: &str = "a note about what was bought, of the length that such notes have; it goes into the message \
                    and is of no use, but that messages are seldom empty";

/// A payment, its row, and its message.
#[expect(clippy::struct_field_names, reason = "columns are named so")]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Payment {
    pub(crate) payment_id: Uuid,
    pub(crate) account: String,
    pub(crate) amount_cents: i64,
    pub(crate) note: String,
}

impl Payment {
    pub(crate) fn new() -> Self {
        Self {
            payment_id: Uuid::now_v7(),
            account: "alice".into(),
            amount_cents: fastrand::i64(1..10_000),
            note: NOTE.into(),
        }
    }

    /// What `serde_json` makes of it, for those who encode it themselves.
    pub(crate) fn json(&self) -> anyhow::Result<Vec<u8>> {
        Ok(serde_json::to_vec(self)?)
    }
}

type Answer<T> = Result<T, sqlx::Error>;

/// A database with the tables of the business, and those of the contestants that are written by hand.
pub(crate) trait Shop: BusinessDatabase {
    /// The database as our messenger takes it.
    fn source(pool: &Pool<Self>) -> DatabaseSource;

    fn create_tables(pool: &Pool<Self>) -> impl Future<Output = Answer<()>> + Send;

    /// The business itself: one row.
    fn insert(on: &mut Self::Connection, payment: &Payment) -> impl Future<Output = Answer<()>> + Send;

    /// A row of a hand-written outbox.
    fn put_out(
        on: &mut Self::Connection,
        payment: &Payment,
        json: &[u8],
    ) -> impl Future<Output = Answer<()>> + Send;

    /// A half message of a framework that batches nothing.
    fn insert_half(
        on: &mut Self::Connection,
        id: Uuid,
        json: &[u8],
    ) -> impl Future<Output = Answer<()>> + Send;

    /// Confirms it.
    fn confirm_half(on: &mut Self::Connection, id: Uuid) -> impl Future<Output = Answer<()>> + Send;

    /// Our half messages that nobody has reported yet.
    fn count_halves(pool: &Pool<Self>) -> impl Future<Output = Answer<i64>> + Send;

    /// Our messages that are neither delivered nor given up.
    fn count_unfinished(pool: &Pool<Self>) -> impl Future<Output = Answer<i64>> + Send;

    /// Whether a payment was made.
    fn has(pool: &Pool<Self>, payment_id: Uuid) -> impl Future<Output = Answer<bool>> + Send;
}

macro_rules! shop {
    ($database:ty, ($p1:literal, $p2:literal, $p3:literal), $tables:literal) => {
        impl Shop for $database {
            fn source(pool: &Pool<Self>) -> DatabaseSource {
                pool.into()
            }

            async fn create_tables(pool: &Pool<Self>) -> Answer<()> {
                sqlx::raw_sql($tables).execute(pool).await?;
                Ok(())
            }

            async fn insert(on: &mut Self::Connection, payment: &Payment) -> Answer<()> {
                let sql = concat!(
                    "INSERT INTO payment (payment_id, account, amount_cents) VALUES (",
                    $p1,
                    ", ",
                    $p2,
                    ", ",
                    $p3,
                    ")"
                );
                let query = sqlx::query(sql).bind(payment.payment_id).bind(&payment.account);
                query.bind(payment.amount_cents).execute(on).await?;
                Ok(())
            }

            async fn put_out(on: &mut Self::Connection, payment: &Payment, json: &[u8]) -> Answer<()> {
                let sql = concat!(
                    "INSERT INTO outbox (message_id, routing_key, payload) VALUES (",
                    $p1,
                    ", ",
                    $p2,
                    ", ",
                    $p3,
                    ")"
                );
                let query = sqlx::query(sql).bind(payment.payment_id).bind(crate::ROUTING_KEY);
                query.bind(json).execute(on).await?;
                Ok(())
            }

            async fn insert_half(on: &mut Self::Connection, id: Uuid, json: &[u8]) -> Answer<()> {
                let sql = concat!(
                    "INSERT INTO half (id, state, routing_key, payload) VALUES (",
                    $p1,
                    ", 0, ",
                    $p2,
                    ", ",
                    $p3,
                    ")"
                );
                sqlx::query(sql).bind(id).bind(crate::ROUTING_KEY).bind(json).execute(on).await?;
                Ok(())
            }

            async fn confirm_half(on: &mut Self::Connection, id: Uuid) -> Answer<()> {
                let sql = concat!("UPDATE half SET state = 1 WHERE id = ", $p1, " AND state = 0");
                sqlx::query(sql).bind(id).execute(on).await?;
                Ok(())
            }

            async fn count_halves(pool: &Pool<Self>) -> Answer<i64> {
                sqlx::query_scalar("SELECT count(*) FROM tm_message WHERE state = 0").fetch_one(pool).await
            }

            async fn count_unfinished(pool: &Pool<Self>) -> Answer<i64> {
                // A count each: so the partial indexes do.
                let sql = "SELECT (SELECT count(*) FROM tm_message WHERE state = 0) \
                           + (SELECT count(*) FROM tm_message WHERE state = 1)";
                sqlx::query_scalar(sql).fetch_one(pool).await
            }

            async fn has(pool: &Pool<Self>, payment_id: Uuid) -> Answer<bool> {
                let sql = concat!("SELECT count(*) FROM payment WHERE payment_id = ", $p1);
                let count: i64 = sqlx::query_scalar(sql).bind(payment_id).fetch_one(pool).await?;
                Ok(count > 0)
            }
        }
    };
}

shop!(
    Postgres,
    ("$1", "$2", "$3"),
    "CREATE TABLE payment (payment_id uuid PRIMARY KEY, account text NOT NULL, amount_cents bigint NOT NULL);
     CREATE TABLE outbox (
         id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
         message_id uuid NOT NULL,
         routing_key text NOT NULL,
         payload bytea NOT NULL,
         created_at timestamptz NOT NULL DEFAULT now(),
         sent_at timestamptz
     );
     CREATE INDEX outbox_unsent ON outbox (id) WHERE sent_at IS NULL;
     CREATE TABLE half (
         id uuid PRIMARY KEY,
         state smallint NOT NULL,
         routing_key text NOT NULL,
         payload bytea NOT NULL,
         created_at timestamptz NOT NULL DEFAULT now()
     );
     CREATE INDEX half_unfinished ON half (created_at) WHERE state < 2;"
);
shop!(
    MySql,
    ("?", "?", "?"),
    "CREATE TABLE payment (payment_id binary(16) PRIMARY KEY, account varchar(64) NOT NULL, amount_cents bigint NOT NULL);
     CREATE TABLE outbox (
         id bigint AUTO_INCREMENT PRIMARY KEY,
         message_id binary(16) NOT NULL,
         routing_key varchar(255) NOT NULL,
         payload blob NOT NULL,
         created_at timestamp(3) NOT NULL DEFAULT now(3),
         sent_at timestamp(3) NULL,
         KEY outbox_unsent (sent_at, id)
     );
     CREATE TABLE half (
         id binary(16) PRIMARY KEY,
         state smallint NOT NULL,
         routing_key varchar(255) NOT NULL,
         payload blob NOT NULL,
         created_at timestamp(3) NOT NULL DEFAULT now(3),
         KEY half_unfinished (state, created_at)
     );"
);
shop!(
    Sqlite,
    ("?", "?", "?"),
    "CREATE TABLE payment (payment_id BLOB PRIMARY KEY, account TEXT NOT NULL, amount_cents INTEGER NOT NULL) STRICT;
     CREATE TABLE outbox (
         id INTEGER PRIMARY KEY,
         message_id BLOB NOT NULL,
         routing_key TEXT NOT NULL,
         payload BLOB NOT NULL,
         created_at INTEGER NOT NULL DEFAULT (unixepoch()),
         sent_at INTEGER
     ) STRICT;
     CREATE INDEX outbox_unsent ON outbox (id) WHERE sent_at IS NULL;
     CREATE TABLE half (
         id BLOB PRIMARY KEY,
         state INTEGER NOT NULL,
         routing_key TEXT NOT NULL,
         payload BLOB NOT NULL,
         created_at INTEGER NOT NULL DEFAULT (unixepoch())
     ) STRICT;
     CREATE INDEX half_unfinished ON half (created_at) WHERE state < 2;"
);
