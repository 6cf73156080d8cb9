//! A store that does not answer.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

/// Holds a database's write lock, so that nothing else gets to write.
#[derive(Debug)]
pub struct Outage(SqliteConnection);

impl Outage {
    /// Begins when this returns.
    pub async fn of(file: &Path) -> Self {
        let options =
            SqliteConnectOptions::new().filename(file).busy_timeout(std::time::Duration::from_secs(20));
        let mut connection = options.connect().await.expect("opens");
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.expect("takes the lock");
        Self(connection)
    }

    /// Ends when this returns.
    pub async fn end(mut self) {
        sqlx::raw_sql("ROLLBACK").execute(&mut self.0).await.expect("frees the lock");
        self.0.close().await.expect("closes");
    }
}
