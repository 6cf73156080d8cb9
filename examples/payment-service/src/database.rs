//! The databases that the service can live on: SQLite or PostgreSQL.

use std::time::Duration;

use anyhow::Context;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{PgPool, SqlitePool};
use transactional_message::DatabaseSource;

/// Connections of one side. Each request uses one for as long as its transaction is open.
const CONNECTIONS: u32 = 16;

/// A pool of one of them.
#[derive(Clone, Debug)]
pub(crate) enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Database {
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
        match url.split(':').next() {
            Some("sqlite") => Ok(Self::Sqlite(open_sqlite(url).await?)),
            Some("postgres" | "postgresql") => Ok(Self::Postgres(open_postgres(url).await?)),
            _ => anyhow::bail!(
                "the URL has to look like sqlite://path/to/file.db or postgres://user:password@host/database"
            ),
        }
    }
}

/// Where the messenger finds it: it opens connections of its own there.
impl From<&Database> for DatabaseSource {
    fn from(database: &Database) -> Self {
        match database {
            Database::Sqlite(pool) => pool.into(),
            Database::Postgres(pool) => pool.into(),
        }
    }
}

async fn open_sqlite(url: &str) -> anyhow::Result<SqlitePool> {
    let options: SqliteConnectOptions =
        url.parse().context("the URL has to look like sqlite://path/to/file.db")?;
    let file = options.get_filename().display().to_string();
    let options = options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // Writers of one file wait for each other.
        .busy_timeout(Duration::from_secs(5));
    SqlitePoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await.with_context(|| {
        format!("`{file}` could not be opened: does its directory exist, and may you write there?")
    })
}

async fn open_postgres(url: &str) -> anyhow::Result<PgPool> {
    // What the parser says may quote the URL, and with it the password.
    let options: PgConnectOptions = url.parse().map_err(|_| {
        anyhow::anyhow!("the URL has to look like postgres://user:password@host:5432/database")
    })?;
    let place = format!("{}:{}", options.get_host(), options.get_port());
    PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(Duration::from_secs(5))
        .connect_with(options)
        .await
        .with_context(|| format!("PostgreSQL at {place} could not be reached: does it run, and do user, password and database exist?"))
}
