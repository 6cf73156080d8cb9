//! SQLite: files in a directory of the test's own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{Pool, Row, Sqlite, SqlitePool};
use tempfile::TempDir;
use transactional_message::{Consumer, DatabaseSource, MessageId};
use uuid::Uuid;

use super::dialect::{speaks, statement};
use super::{Dialect, Place};
use crate::ScriptedConsumer;

/// Files in a directory.
#[derive(Clone, Debug)]
pub struct SqliteFiles(Arc<Folder>);

/// Deleted with its test, unless that fails.
#[derive(Debug)]
struct Folder(TempDir);

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            eprintln!("the databases of this test are kept: {}", self.0.path().display());
        }
    }
}

impl SqliteFiles {
    /// A file in the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.0.path().join(format!("{name}.db"))
    }

    fn open(&self, name: &str, connections: u32, patience: Duration) -> SqlitePool {
        let options = SqliteConnectOptions::new()
            .filename(self.file(name))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(patience);
        SqlitePoolOptions::new().max_connections(connections).connect_lazy_with(options)
    }
}

impl Place for SqliteFiles {
    type Db = Sqlite;

    const ONE_SERVER: bool = false;

    async fn new() -> Self {
        Self(Arc::new(Folder(TempDir::new_in(services::data_directory()).expect("a directory"))))
    }

    async fn create(&self, _: &[&str]) {
        // Whoever opens a file makes it.
    }

    fn url(&self, name: &str) -> String {
        format!("sqlite://{}", self.file(name).display())
    }

    fn database_of(pool: &SqlitePool) -> DatabaseSource {
        pool.into()
    }

    fn pool(&self, name: &str, connections: u32) -> SqlitePool {
        self.open(name, connections, Duration::from_secs(20))
    }

    fn impatient(&self, name: &str) -> SqlitePool {
        self.open(name, 4, Duration::from_millis(1))
    }
}

impl Dialect for Sqlite {
    const FOLDER: &'static str = "sqlite";
    const SHOP: &'static str = "CREATE TABLE orders (id INTEGER PRIMARY KEY, message_id BLOB)";
    const BOOKS: &'static str = "CREATE TABLE effects (queue TEXT, message_id BLOB, body TEXT);
        CREATE TABLE unique_effects (id INTEGER PRIMARY KEY)";
    const NOW: &'static str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";
    const RENEWAL_ROUND_TRIPS: u32 = 1;
    const ONE_WRITER: bool = true;
    const GOES_ON: bool = true;
    // `OR ROLLBACK` makes SQLite end the whole transaction.
    const STUCK: &'static str = "SELECT 1";
    const SWALLOWED: (&'static str, &'static str) =
        ("INSERT OR ROLLBACK INTO unique_effects VALUES (1), (1)", "ended underneath");
    const ENDED_UNDERNEATH: &'static [(&'static [&'static str], bool)] = &[
        (&["COMMIT"], true),
        (&["END"], true),
        (&["COMMIT", "BEGIN"], true),
        (&["COMMIT; BEGIN IMMEDIATE"], true),
        (&["ROLLBACK"], false),
        (&["ROLLBACK", "BEGIN"], false),
        (&["ROLLBACK; BEGIN; SAVEPOINT mine"], false),
        (&["INSERT OR ROLLBACK INTO orders (id) VALUES (1), (1)"], false),
        (&["INSERT OR ROLLBACK INTO orders (id) VALUES (1), (1)", "BEGIN"], false),
    ];
    const NO_FENCE: &'static [&'static str] = &[
        "DELETE FROM tm_fence",
        "UPDATE tm_fence SET outcome = 2",
        "UPDATE tm_fence SET call_id = randomblob(16)",
        "DROP TABLE tm_fence",
    ];
    const MOVES: &'static str =
        "CREATE TEMP TABLE IF NOT EXISTS tm_fence (x); CREATE TEMP TABLE IF NOT EXISTS tm_inbox (x)";
    const LOCKED: &'static str = "locked";
    const ANTIDOTE: &'static str = "DROP TRIGGER poison";

    fn poison(state: u8) -> String {
        format!(
            "CREATE TRIGGER poison BEFORE UPDATE ON tm_message WHEN new.state = {state} AND new.message_key = '13'
             BEGIN SELECT raise(ABORT, 'poison'); END"
        )
    }

    const STRANGE: &'static [&'static str] = &["trouble"];

    fn trouble(state: u8, error: &str) -> String {
        format!(
            "CREATE TRIGGER poison BEFORE UPDATE ON tm_message WHEN new.state = {state} AND old.state <> {state}
             BEGIN SELECT raise(ABORT, '{error}'); END"
        )
    }

    // There is one lock for the whole file.
    fn hold(_: &str) -> (String, &'static str) {
        ("BEGIN IMMEDIATE".into(), "ROLLBACK")
    }

    fn id(id: impl Into<Uuid>) -> String {
        format!("x'{}'", id.into().simple())
    }

    speaks!("?, ?, ?");
}
