//! Accounting's side: books a voucher for every completed payment.
//!
//! `sqlite` is the file to read first. `postgres` says the same for PostgreSQL. This file picks one of the two.

mod postgres;
mod sqlite;
mod voucher;

use transactional_message::Consumer;
use uuid::Uuid;

use crate::database::Database;
pub(crate) use voucher::Voucher;

/// Where messages wait for accounting.
const QUEUE: &str = "accounting.vouchers";

/// Receives completed payments.
pub(crate) fn consumer(db: &Database) -> Consumer {
    let consumer = match db {
        Database::Sqlite(pool) => Consumer::new(QUEUE, pool.clone(), sqlite::book),
        Database::Postgres(pool) => Consumer::new(QUEUE, pool.clone(), postgres::book),
    };
    consumer.bind("payments", "payment.completed")
}

pub(crate) async fn create_tables(db: &Database) -> Result<(), sqlx::Error> {
    match db {
        Database::Sqlite(pool) => sqlite::create_tables(pool).await,
        Database::Postgres(pool) => postgres::create_tables(pool).await,
    }
}

pub(crate) async fn find(db: &Database, payment_id: Uuid) -> Result<Option<Voucher>, sqlx::Error> {
    match db {
        Database::Sqlite(pool) => sqlite::find(pool, payment_id).await,
        Database::Postgres(pool) => postgres::find(pool, payment_id).await,
    }
}

pub(crate) async fn newest(db: &Database, limit: u32) -> Result<Vec<Voucher>, sqlx::Error> {
    match db {
        Database::Sqlite(pool) => sqlite::newest(pool, limit).await,
        Database::Postgres(pool) => postgres::newest(pool, limit).await,
    }
}
