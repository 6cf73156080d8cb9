//! Payments on SQLite: the tables, the annotated function that pays, and the queries.

use sqlx::{SqliteConnection, SqliteExecutor, SqlitePool};
use transactional_message::{begin, transactional_message, withhold};
use uuid::Uuid;

use super::pay::{FIRST_BALANCE, Paid, Pay, PayError, Payment, PaymentCompleted};

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS account (
        name TEXT PRIMARY KEY,
        balance_cents INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS payment (
        number INTEGER PRIMARY KEY,
        payment_id BLOB NOT NULL UNIQUE,
        order_id TEXT NOT NULL,
        account TEXT NOT NULL REFERENCES account,
        amount_cents INTEGER NOT NULL
    ) STRICT;
";

pub(super) async fn create_tables(pool: &SqlitePool) -> Result<(), sqlx::Error> {
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
pub(super) async fn pay(pool: &SqlitePool, command: Pay) -> Result<Paid, PayError> {
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
async fn insert(tx: &mut SqliteConnection, payment: &Payment) -> Result<bool, sqlx::Error> {
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
async fn withdraw(tx: &mut SqliteConnection, payment: &Payment) -> Result<bool, sqlx::Error> {
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
pub(super) async fn find(on: impl SqliteExecutor<'_>, id: Uuid) -> Result<Option<Payment>, sqlx::Error> {
    sqlx::query_as("SELECT payment_id, order_id, account, amount_cents FROM payment WHERE payment_id = $1")
        .bind(id)
        .fetch_optional(on)
        .await
}

pub(super) async fn newest(pool: &SqlitePool, limit: u32) -> Result<Vec<Payment>, sqlx::Error> {
    sqlx::query_as(
        "SELECT payment_id, order_id, account, amount_cents FROM payment ORDER BY number DESC LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use transactional_message::testing::Recorder;

    use super::*;

    async fn recorder() -> Recorder {
        let recorder = Recorder::new().await.expect("a recorder");
        create_tables(recorder.pool()).await.expect("tables");
        recorder
    }

    fn command(amount_cents: i64) -> Pay {
        Pay {
            payment_id: Uuid::from_u128(7),
            order_id: "order-7".into(),
            account: "alice".into(),
            amount_cents,
        }
    }

    async fn paid(recorder: &Recorder, command: Pay) -> Result<Paid, PayError> {
        recorder.scope(pay(recorder.pool(), command)).await
    }

    /// What `command(250)` tells accounting.
    fn completed() -> Value {
        json!({
            "payment_id": Uuid::from_u128(7),
            "order_id": "order-7",
            "account": "alice",
            "amount_cents": 250,
        })
    }

    #[tokio::test]
    async fn a_payment_sends_its_message() {
        let recorder = recorder().await;
        assert_eq!(paid(&recorder, command(250)).await.expect("paid"), Paid::Now);
        recorder.settle().await.expect("settled");
        recorder.assert_sent(&[("payments", "payment.completed", completed())]);
    }

    #[tokio::test]
    async fn a_lost_report_is_found_out() {
        let recorder = recorder().await;
        recorder.lose_reports(true);
        paid(&recorder, command(250)).await.expect("paid");
        paid(&recorder, Pay { payment_id: Uuid::nil(), ..command(2_000_000) }).await.expect_err("declined");
        recorder.settle().await.expect("settled");
        recorder.assert_sent(&[("payments", "payment.completed", completed())]);
    }

    #[tokio::test]
    async fn a_repeated_request_sends_nothing_more() {
        let recorder = recorder().await;
        paid(&recorder, command(250)).await.expect("paid");
        assert_eq!(paid(&recorder, command(250)).await.expect("paid"), Paid::Before);
        assert!(matches!(paid(&recorder, command(1)).await, Err(PayError::Conflict)));
        recorder.settle().await.expect("settled");
        recorder.assert_sent(&[("payments", "payment.completed", completed())]);
    }

    #[tokio::test]
    async fn a_declined_payment_sends_nothing() {
        let recorder = recorder().await;
        assert!(matches!(paid(&recorder, command(1_000_001)).await, Err(PayError::Declined)));
        recorder.settle().await.expect("settled");
        recorder.assert_sent(&[]);
        assert_eq!(recorder.messenger().stats().await.expect("counted").cancelled, 1);
    }
}
