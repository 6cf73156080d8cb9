//! Accounting on SQLite: the table, the consumer's handler that books, and the queries.

use sqlx::{SqliteConnection, SqlitePool};
use transactional_message::Received;
use uuid::Uuid;

use super::Voucher;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS voucher (
        number INTEGER PRIMARY KEY,
        payment_id BLOB NOT NULL UNIQUE,
        order_id TEXT NOT NULL,
        account TEXT NOT NULL,
        amount_cents INTEGER NOT NULL
    ) STRICT;
";

pub(super) async fn create_tables(pool: &SqlitePool) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(TABLES).execute(pool).await?;
    Ok(())
}

/// Books a payment. The same transaction records the message, so it books once, however often the message is
/// delivered. What is written elsewhere than through `tx` has no such protection.
#[tracing::instrument(skip_all, fields(payment = %message.payload.payment_id))]
pub(super) async fn book(tx: &mut SqliteConnection, message: Received<Voucher>) -> Result<(), sqlx::Error> {
    let voucher = message.payload;
    sqlx::query("INSERT INTO voucher (payment_id, order_id, account, amount_cents) VALUES ($1, $2, $3, $4)")
        .bind(voucher.payment_id)
        .bind(voucher.order_id)
        .bind(voucher.account)
        .bind(voucher.amount_cents)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn find(pool: &SqlitePool, payment_id: Uuid) -> Result<Option<Voucher>, sqlx::Error> {
    sqlx::query_as("SELECT payment_id, order_id, account, amount_cents FROM voucher WHERE payment_id = $1")
        .bind(payment_id)
        .fetch_optional(pool)
        .await
}

pub(super) async fn newest(pool: &SqlitePool, limit: u32) -> Result<Vec<Voucher>, sqlx::Error> {
    sqlx::query_as(
        "SELECT payment_id, order_id, account, amount_cents FROM voucher ORDER BY number DESC LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await
}

#[cfg(test)]
mod tests {
    use transactional_message::testing::{Recorder, received};

    use super::*;

    #[tokio::test]
    async fn a_voucher_is_what_the_message_says() {
        let recorder = Recorder::new().await.expect("a recorder");
        let pool = recorder.pool();
        create_tables(pool).await.expect("tables");
        let voucher = Voucher {
            payment_id: Uuid::from_u128(7),
            order_id: "order-7".into(),
            account: "alice".into(),
            amount_cents: 250,
        };
        let mut connection = pool.acquire().await.expect("a connection");
        book(&mut connection, received(voucher.clone())).await.expect("booked");
        assert_eq!(find(pool, voucher.payment_id).await.expect("found"), Some(voucher.clone()));
        // A second voucher for one payment would be a bug of ours: the table refuses it.
        book(&mut connection, received(voucher)).await.expect_err("refused");
    }
}
