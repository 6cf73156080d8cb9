//! What a payment is, whatever the database: the command, the row, the message, and how it can end.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a new account has.
pub(super) const FIRST_BALANCE: i64 = 1_000_000;

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
    pub(super) fn validate(&self) -> Result<(), PayError> {
        let problem = if self.amount_cents <= 0 {
            "amount_cents must be positive"
        } else if !is_name(&self.order_id) {
            "order_id must have 1 to 100 bytes, none of them NUL"
        } else if !is_name(&self.account) {
            "account must have 1 to 100 bytes, none of them NUL"
        } else {
            return Ok(());
        };
        Err(PayError::Invalid(problem))
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len()) && !name.contains('\0')
}

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

/// The message: what accounting is told. It is a type of its own because other programs read it: the command
/// may change, and they notice nothing.
#[derive(Serialize)]
pub(super) struct PaymentCompleted<'a> {
    payment_id: Uuid,
    order_id: &'a str,
    account: &'a str,
    amount_cents: i64,
}

impl<'a> From<&'a Pay> for PaymentCompleted<'a> {
    fn from(Pay { payment_id, order_id, account, amount_cents }: &'a Pay) -> Self {
        Self { payment_id: *payment_id, order_id, account, amount_cents: *amount_cents }
    }
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
    /// The attribute needs it: without it, nobody could be told that the message was not stored, and that
    /// therefore nothing was paid.
    #[error(transparent)]
    Message(#[from] transactional_message::Error),
}
