//! Accounting on PostgreSQL: `sqlite.rs` with the types of PostgreSQL, and its table.

use sqlx::{PgConnection, PgPool};
use transactional_message::Received;
use uuid::Uuid;

use super::Voucher;

// The script runs as one transaction. Its lock lets processes that start together take turns.
const TABLES: &str = "
    SELECT pg_advisory_xact_lock(20260102);
    CREATE TABLE IF NOT EXISTS voucher (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        payment_id uuid NOT NULL UNIQUE,
        order_id text NOT NULL,
        account text NOT NULL,
        amount_cents bigint NOT NULL
    );
";

pub(super) async fn create_tables(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(TABLES).execute(pool).await?;
    Ok(())
}

/// Books a payment. The same transaction records the message, so it books once, however often the message is
/// delivered. What is written elsewhere than through `tx` has no such protection.
#[tracing::instrument(skip_all, fields(payment = %message.payload.payment_id))]
pub(super) async fn book(tx: &mut PgConnection, message: Received<Voucher>) -> Result<(), sqlx::Error> {
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

pub(super) async fn find(pool: &PgPool, payment_id: Uuid) -> Result<Option<Voucher>, sqlx::Error> {
    sqlx::query_as("SELECT payment_id, order_id, account, amount_cents FROM voucher WHERE payment_id = $1")
        .bind(payment_id)
        .fetch_optional(pool)
        .await
}

pub(super) async fn newest(pool: &PgPool, limit: u32) -> Result<Vec<Voucher>, sqlx::Error> {
    sqlx::query_as(
        "SELECT payment_id, order_id, account, amount_cents FROM voucher ORDER BY number DESC LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await
}
