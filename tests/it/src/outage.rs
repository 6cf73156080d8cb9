//! A store that does not answer, or answers with errors.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

/// Keeps everybody from writing to a database.
#[derive(Debug)]
pub struct Outage {
    connection: SqliteConnection,
    end: &'static str,
}

impl Outage {
    /// Holds the write lock: writers wait until they give up. Begins when this returns.
    pub async fn of(file: &Path) -> Self {
        Self::begin(file, "BEGIN IMMEDIATE", "ROLLBACK").await
    }

    /// Takes the message table away: every statement fails at once. Begins when this returns.
    pub async fn without_table(file: &Path) -> Self {
        let (away, back) = ("ALTER TABLE tm_message RENAME TO away", "ALTER TABLE away RENAME TO tm_message");
        Self::begin(file, away, back).await
    }

    async fn begin(file: &Path, begin: &'static str, end: &'static str) -> Self {
        let options = SqliteConnectOptions::new().filename(file).busy_timeout(Duration::from_secs(20));
        let mut connection = options.connect().await.expect("opens");
        sqlx::raw_sql(begin).execute(&mut connection).await.expect("begins");
        Self { connection, end }
    }

    /// Ends when this returns.
    pub async fn end(mut self) {
        sqlx::raw_sql(self.end).execute(&mut self.connection).await.expect("ends");
        self.connection.close().await.expect("closes");
    }
}
