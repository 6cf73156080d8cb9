//! What differs between the databases: where a test's are, and how they speak.

mod dialect;
mod mysql;
mod pgbouncer;
mod place;
mod postgres;
mod sqlite;

pub use dialect::{Connection, Dialect, number, numbers, run, texts, write};
pub use mysql::MySqlDatabases;
pub use pgbouncer::PooledDatabase;
pub use place::{Fragile, Place, Remote};
pub use postgres::PostgresSchemas;
pub use sqlite::SqliteFiles;
