//! Opens a SQLite database for business data.

use std::time::Duration;

use anyhow::Context;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};

pub(crate) async fn open(url: &str) -> anyhow::Result<SqlitePool> {
    anyhow::ensure!(url.starts_with("sqlite:"), "the URL has to look like sqlite://path/to/file.db");
    let options: SqliteConnectOptions =
        url.parse().context("the URL has to look like sqlite://path/to/file.db")?;
    let file = options.get_filename().display().to_string();
    let options = options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // Writers of one file wait for each other.
        .busy_timeout(Duration::from_secs(5));
    SqlitePoolOptions::new().max_connections(8).connect_with(options).await.with_context(|| {
        format!("`{file}` could not be opened: does its directory exist, and may you write there?")
    })
}
