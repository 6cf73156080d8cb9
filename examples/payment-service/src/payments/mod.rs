//! The payments' side: takes payments, and sends a message for each.

mod ledger;
mod pay;

use sqlx::Pool;
use uuid::Uuid;

use crate::database::{Database, with_pool};
use ledger::Ledger;
pub(crate) use ledger::Payment;
pub(crate) use pay::{Paid, Pay, PayError};

pub(crate) async fn create_tables(db: &Database) -> Result<(), sqlx::Error> {
    with_pool!(db, pool => Ledger::create_tables(pool).await)
}

/// Pays, once per payment id: a repeated request is told what the first one did.
pub(crate) async fn pay(db: &Database, command: Pay) -> Result<Paid, PayError> {
    command.validate()?;
    with_pool!(db, pool => pay::pay(pool, command).await)
}

pub(crate) async fn find(db: &Database, id: Uuid) -> Result<Option<Payment>, sqlx::Error> {
    with_pool!(db, pool => find_on(pool, id).await)
}

async fn find_on<DB: Ledger>(pool: &Pool<DB>, id: Uuid) -> Result<Option<Payment>, sqlx::Error> {
    DB::find(&mut *pool.acquire().await?, id).await
}

pub(crate) async fn newest(db: &Database, limit: u32) -> Result<Vec<Payment>, sqlx::Error> {
    with_pool!(db, pool => Ledger::newest(pool, limit).await)
}
