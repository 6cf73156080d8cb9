//! Payments on PostgreSQL: `sqlite.rs` with the types of PostgreSQL, and its tables.

use sqlx::{PgConnection, PgExecutor, PgPool};
use transactional_message::{begin, transactional_message, withhold};
use uuid::Uuid;

use super::pay::{FIRST_BALANCE, Paid, Pay, PayError, Payment, PaymentCompleted};

// The script runs as one transaction. Its lock lets processes that start together take turns: two at once
// would both find that a table is missing, and one of them would fail.
const TABLES: &str = "
    SELECT pg_advisory_xact_lock(20260101);
    CREATE TABLE IF NOT EXISTS account (
        name text PRIMARY KEY,
        balance_cents bigint NOT NULL
    );
    CREATE TABLE IF NOT EXISTS payment (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        payment_id uuid NOT NULL UNIQUE,
        order_id text NOT NULL,
        account text NOT NULL REFERENCES account,
        amount_cents bigint NOT NULL
    );
";

pub(super) async fn create_tables(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(TABLES).execute(pool).await?;
    Ok(())
}

/// Pays, and tells accounting: both, or neither.
///
/// The message is stored before the body runs, and nobody delivers it yet. It is delivered if the transaction
/// that `begin` opens commits, and cancelled if it does not. A row in that transaction, the fence, shows which
/// it was, even after a crash.
#[transactional_message(
    exchange = "payments",
    routing_key = "payment.completed",
    type = "payment.completed",
    business_key = command.payment_id,
    fence,
    message = PaymentCompleted::from(&command)
)]
pub(super) async fn pay(pool: &PgPool, command: Pay) -> Result<Paid, PayError> {
    let payment = Payment::from(command);
    let mut tx = begin(pool).await?;
    if !insert(&mut tx, &payment).await? {
        // A repeated request: its message was sent before, and this call has nothing to send.
        withhold()?;
        let first = find(&mut *tx, payment.payment_id).await?;
        return if first == Some(payment) { Ok(Paid::Before) } else { Err(PayError::Conflict) };
    }
    if !withdraw(&mut tx, &payment).await? {
        return Err(PayError::Declined);
    }
    tx.commit().await?;
    Ok(Paid::Now)
}

/// Writes the payment down, and opens its account if it is new. `false`: there is a payment with this id.
async fn insert(tx: &mut PgConnection, payment: &Payment) -> Result<bool, sqlx::Error> {
    sqlx::query("INSERT INTO account (name, balance_cents) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(&payment.account)
        .bind(FIRST_BALANCE)
        .execute(&mut *tx)
        .await?;
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

/// Takes the amount off the account. `false`: its balance is too low.
async fn withdraw(tx: &mut PgConnection, payment: &Payment) -> Result<bool, sqlx::Error> {
    let withdrawn = sqlx::query(
        "UPDATE account SET balance_cents = balance_cents - $1 WHERE name = $2 AND balance_cents >= $1",
    )
    .bind(payment.amount_cents)
    .bind(&payment.account)
    .execute(tx)
    .await?;
    Ok(withdrawn.rows_affected() == 1)
}

/// Looks on the pool, or within a transaction.
pub(super) async fn find(on: impl PgExecutor<'_>, id: Uuid) -> Result<Option<Payment>, sqlx::Error> {
    sqlx::query_as("SELECT payment_id, order_id, account, amount_cents FROM payment WHERE payment_id = $1")
        .bind(id)
        .fetch_optional(on)
        .await
}

pub(super) async fn newest(pool: &PgPool, limit: u32) -> Result<Vec<Payment>, sqlx::Error> {
    sqlx::query_as(
        "SELECT payment_id, order_id, account, amount_cents FROM payment ORDER BY number DESC LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await
}
