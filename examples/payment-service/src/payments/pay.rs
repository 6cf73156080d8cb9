//! The annotated function: the one place where payment and message are tied together.

use serde::{Deserialize, Serialize};
use sqlx::Pool;
use transactional_message::{begin, transactional_message, withhold};
use uuid::Uuid;

use super::ledger::{Ledger, Payment};

/// The longest order and account names.
const NAME_BYTES: usize = 100;

/// A request to pay an order.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pay {
    pub(crate) payment_id: Uuid,
    pub(crate) order_id: String,
    pub(crate) account: String,
    pub(crate) amount_cents: i64,
}

impl Pay {
    pub(crate) fn validate(&self) -> Result<(), PayError> {
        let problem = if self.amount_cents <= 0 {
            "amount_cents must be positive"
        } else if !named(&self.order_id) {
            "order_id must have 1 to 100 bytes, none of them NUL"
        } else if !named(&self.account) {
            "account must have 1 to 100 bytes, none of them NUL"
        } else {
            return Ok(());
        };
        Err(PayError::Invalid(problem))
    }
}

fn named(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len()) && !name.contains('\0')
}

/// What accounting is told.
#[derive(Serialize)]
struct PaymentCompleted<'a> {
    payment_id: Uuid,
    order_id: &'a str,
    account: &'a str,
    amount_cents: i64,
}

/// How a payment ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paid {
    /// By this call.
    Now,
    /// By an earlier call with the same payment id.
    Before,
}

/// How a payment ended badly.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PayError {
    #[error("{0}")]
    Invalid(&'static str),
    #[error("the account's balance is too low")]
    Declined,
    #[error("another payment has this payment_id")]
    Conflict,
    #[error("the payment could not be made: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Message(#[from] transactional_message::Error),
}

#[transactional_message(
    exchange = "payments",
    routing_key = "payment.completed",
    type = "payment.completed",
    business_key = command.payment_id,
    fence,
    message = PaymentCompleted {
        payment_id: command.payment_id,
        order_id: &command.order_id,
        account: &command.account,
        amount_cents: command.amount_cents,
    }
)]
pub(super) async fn pay<DB: Ledger>(db: &Pool<DB>, command: Pay) -> Result<Paid, PayError> {
    let payment = Payment::from(command);
    let mut tx = begin(db).await?;
    if !DB::insert(&mut tx, &payment).await? {
        // Done before: this call has nothing to send.
        withhold()?;
        let first = DB::find(&mut tx, payment.payment_id).await?;
        return if first == Some(payment) { Ok(Paid::Before) } else { Err(PayError::Conflict) };
    }
    if !DB::withdraw(&mut tx, &payment).await? {
        return Err(PayError::Declined);
    }
    tx.commit().await?;
    Ok(Paid::Now)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use transactional_message::testing::Recorder;

    use super::*;

    async fn recorder() -> Recorder {
        let recorder = Recorder::new().await.expect("a recorder");
        Ledger::create_tables(recorder.pool()).await.expect("tables");
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

    const BODY: fn() -> serde_json::Value = || {
        json!({
            "payment_id": Uuid::from_u128(7),
            "order_id": "order-7",
            "account": "alice",
            "amount_cents": 250,
        })
    };

    #[tokio::test]
    async fn a_payment_sends_its_message() {
        let recorder = recorder().await;
        assert_eq!(paid(&recorder, command(250)).await.expect("paid"), Paid::Now);
        recorder.settle().await.expect("settled");
        recorder.assert_sent(&[("payments", "payment.completed", BODY())]);
    }

    #[tokio::test]
    async fn a_lost_report_is_found_out() {
        let recorder = recorder().await;
        recorder.lose_reports(true);
        paid(&recorder, command(250)).await.expect("paid");
        paid(&recorder, Pay { payment_id: Uuid::nil(), ..command(2_000_000) }).await.expect_err("declined");
        recorder.settle().await.expect("settled");
        recorder.assert_sent(&[("payments", "payment.completed", BODY())]);
    }

    #[tokio::test]
    async fn a_repeated_request_sends_nothing_more() {
        let recorder = recorder().await;
        paid(&recorder, command(250)).await.expect("paid");
        assert_eq!(paid(&recorder, command(250)).await.expect("paid"), Paid::Before);
        assert!(matches!(paid(&recorder, command(1)).await, Err(PayError::Conflict)));
        recorder.settle().await.expect("settled");
        recorder.assert_sent(&[("payments", "payment.completed", BODY())]);
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
