//! The payments' side: takes payments, and sends a message for each.

mod ledger;
mod pay;

use sqlx::SqlitePool;

pub(crate) use ledger::{Payment, create_tables, find, newest};
pub(crate) use pay::{Paid, Pay, PayError};

/// Pays, once per payment id: a repeated request is told what the first one did.
pub(crate) async fn pay(db: &SqlitePool, command: Pay) -> Result<Paid, PayError> {
    command.validate()?;
    pay::pay(db, command).await
}
