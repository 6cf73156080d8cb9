//! Accounting's side: books a voucher for every completed payment.

mod book;
mod vouchers;

use transactional_message::Consumer;
use uuid::Uuid;

use crate::database::{Database, with_pool};
pub(crate) use vouchers::Voucher;
use vouchers::Vouchers;

/// Receives completed payments.
pub(crate) fn consumer(db: &Database) -> Consumer {
    let queue = "accounting.vouchers";
    let consumer = match db {
        Database::Sqlite(pool) => Consumer::new(queue, pool.clone(), book::book::<sqlx::Sqlite>),
        Database::Postgres(pool) => Consumer::new(queue, pool.clone(), book::book::<sqlx::Postgres>),
    };
    consumer.bind("payments", "payment.completed")
}

pub(crate) async fn create_tables(db: &Database) -> Result<(), sqlx::Error> {
    with_pool!(db, pool => Vouchers::create_tables(pool).await)
}

pub(crate) async fn find(db: &Database, payment_id: Uuid) -> Result<Option<Voucher>, sqlx::Error> {
    with_pool!(db, pool => Vouchers::find(pool, payment_id).await)
}

pub(crate) async fn newest(db: &Database, limit: u32) -> Result<Vec<Voucher>, sqlx::Error> {
    with_pool!(db, pool => Vouchers::newest(pool, limit).await)
}
