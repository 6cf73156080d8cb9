//! What a voucher is, whatever the database.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What was booked for a payment, and what the message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub(crate) struct Voucher {
    pub(crate) payment_id: Uuid,
    pub(crate) order_id: String,
    pub(crate) account: String,
    pub(crate) amount_cents: i64,
}
