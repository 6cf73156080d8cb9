//! The databases: all SQL of one of them in one folder, the same file set in each.

#[cfg(feature = "_sql")]
mod errors;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod network;
#[cfg(feature = "_sql")]
mod row;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::fence::FenceDatabase;
use crate::store::Store;

/// Where a database is: a URL, or one of sqlx's pools, whose options are taken over.
///
/// The framework opens small pools of its own with them: a pool shared with business code can
/// deadlock when a body holds its last connection and the framework needs one.
#[derive(Clone)]
pub struct DatabaseSource(Source);

#[derive(Clone)]
enum Source {
    Url(String),
    #[cfg(feature = "sqlite")]
    Sqlite(Box<sqlx::sqlite::SqliteConnectOptions>),
}

// Connection options and URLs carry passwords.
impl std::fmt::Debug for DatabaseSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            Source::Url(url) => url.split_once(':').map_or("DatabaseSource", |(scheme, _)| match scheme {
                "sqlite" => "DatabaseSource(sqlite:…)",
                _ => "DatabaseSource(url)",
            }),
            #[cfg(feature = "sqlite")]
            Source::Sqlite(_) => "DatabaseSource(SqlitePool)",
        })
    }
}

impl From<&str> for DatabaseSource {
    fn from(url: &str) -> Self {
        Self(Source::Url(url.to_owned()))
    }
}

impl From<String> for DatabaseSource {
    fn from(url: String) -> Self {
        Self(Source::Url(url))
    }
}

#[cfg(feature = "sqlite")]
impl From<&sqlx::SqlitePool> for DatabaseSource {
    fn from(pool: &sqlx::SqlitePool) -> Self {
        Self(Source::Sqlite(Box::new(pool.connect_options().as_ref().clone())))
    }
}

#[cfg(feature = "sqlite")]
impl From<sqlx::SqlitePool> for DatabaseSource {
    fn from(pool: sqlx::SqlitePool) -> Self {
        Self::from(&pool)
    }
}

impl DatabaseSource {
    /// Opens the message store there.
    pub(crate) async fn open_store(&self) -> Result<Arc<dyn Store>, Error> {
        match self.resolve()? {
            #[cfg(feature = "sqlite")]
            Resolved::Sqlite(options) => Ok(Arc::new(sqlite::SqliteStore::open(*options).await?)),
        }
    }

    /// Opens the fence of the business database there.
    pub(crate) async fn open_fence(
        &self,
        lock_timeout: std::time::Duration,
    ) -> Result<Arc<dyn FenceDatabase>, Error> {
        match self.resolve()? {
            #[cfg(feature = "sqlite")]
            Resolved::Sqlite(options) => {
                Ok(Arc::new(sqlite::SqliteFence::open(*options, lock_timeout).await?))
            }
        }
    }

    fn resolve(&self) -> Result<Resolved, Error> {
        match &self.0 {
            #[cfg(feature = "sqlite")]
            Source::Sqlite(options) => Ok(Resolved::Sqlite(options.clone())),
            Source::Url(url) => resolve_url(url),
        }
    }
}

enum Resolved {
    #[cfg(feature = "sqlite")]
    Sqlite(Box<sqlx::sqlite::SqliteConnectOptions>),
}

// The URL itself stays out of every message: it may hold a password.
fn resolve_url(url: &str) -> Result<Resolved, Error> {
    let scheme = url.split(':').next().unwrap_or_default();
    match scheme {
        #[cfg(feature = "sqlite")]
        "sqlite" => url.parse().map(|options| Resolved::Sqlite(Box::new(options))).map_err(|_| {
            configuration("the sqlite URL can't be read; it looks like `sqlite://path/to/file.db`")
        }),
        #[cfg(not(feature = "sqlite"))]
        "sqlite" => Err(configuration(
            "a sqlite:// URL needs the feature `sqlite`: cargo add transactional-message --features sqlite",
        )),
        "postgres" | "postgresql" | "mysql" | "mariadb" => Err(configuration(format!(
            "{scheme}:// URLs are not supported by this version of transactional-message: use a sqlite:// URL"
        ))),
        _ => Err(configuration(
            "the database URL has no known scheme; it looks like `sqlite://path/to/file.db`",
        )),
    }
}

fn configuration(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Configuration, message)
}
