//! The payments' side: takes payments, and sends a message for each.
//!
//! `sqlite` is the file to read first, and the one to copy. `postgres` says the same for PostgreSQL, and `pay`
//! has what both share. This file picks one of the two. With one kind of database you need no such choice.

mod pay;
mod postgres;
mod sqlite;

use uuid::Uuid;

use crate::database::Database;
pub(crate) use pay::{Paid, Pay, PayError, Payment};

pub(crate) async fn create_tables(db: &Database) -> Result<(), sqlx::Error> {
    match db {
        Database::Sqlite(pool) => sqlite::create_tables(pool).await,
        Database::Postgres(pool) => postgres::create_tables(pool).await,
    }
}

/// Pays, once per payment id: a repeated request is told what the first one did.
pub(crate) async fn pay(db: &Database, command: Pay) -> Result<Paid, PayError> {
    // Before the annotated function, so that a bad request costs no message.
    command.validate()?;
    match db {
        Database::Sqlite(pool) => sqlite::pay(pool, command).await,
        Database::Postgres(pool) => postgres::pay(pool, command).await,
    }
}

pub(crate) async fn find(db: &Database, id: Uuid) -> Result<Option<Payment>, sqlx::Error> {
    match db {
        Database::Sqlite(pool) => sqlite::find(pool, id).await,
        Database::Postgres(pool) => postgres::find(pool, id).await,
    }
}

pub(crate) async fn newest(db: &Database, limit: u32) -> Result<Vec<Payment>, sqlx::Error> {
    match db {
        Database::Sqlite(pool) => sqlite::newest(pool, limit).await,
        Database::Postgres(pool) => postgres::newest(pool, limit).await,
    }
}
