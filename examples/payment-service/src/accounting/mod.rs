//! Accounting's side: books a voucher for every completed payment.

mod book;
mod vouchers;

use sqlx::SqlitePool;
use transactional_message::Consumer;

pub(crate) use vouchers::{Voucher, create_tables, find, newest};

/// Receives completed payments.
pub(crate) fn consumer(db: SqlitePool) -> Consumer {
    Consumer::new("accounting.vouchers", db, book::book).bind("payments", "payment.completed")
}
