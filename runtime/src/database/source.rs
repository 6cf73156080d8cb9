//! Where a database is, and what is opened there.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::fence::FenceDatabase;
use crate::store::Store;

/// Where a database is: a URL, or one of sqlx's pools, whose options are taken over.
///
/// The framework opens small pools of its own with them: a pool shared with business code can
/// deadlock when a body holds its last connection and the framework needs one.
#[derive(Clone)]
pub struct DatabaseSource {
    place: Place,
    pooled: bool,
}

#[derive(Clone)]
enum Place {
    Url(String),
    #[cfg(feature = "_sql")]
    Known(Known),
}

/// Options for one kind of database.
#[derive(Clone)]
enum Known {
    #[cfg(feature = "sqlite")]
    Sqlite(Box<sqlx::sqlite::SqliteConnectOptions>),
    #[cfg(feature = "postgres")]
    Postgres(Box<sqlx::postgres::PgConnectOptions>),
    #[cfg(feature = "mysql")]
    MySql(Box<sqlx::mysql::MySqlConnectOptions>),
}

// Connection options and URLs carry passwords.
impl fmt::Debug for DatabaseSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.place {
            Place::Url(url) => match scheme(url) {
                "sqlite" => "DatabaseSource(sqlite:…)",
                "postgres" | "postgresql" => "DatabaseSource(postgres:…)",
                "mysql" | "mariadb" => "DatabaseSource(mysql:…)",
                _ => "DatabaseSource(url)",
            },
            #[cfg(feature = "_sql")]
            Place::Known(_) => "DatabaseSource(pool)",
        })
    }
}

impl From<&str> for DatabaseSource {
    fn from(url: &str) -> Self {
        Self::from(url.to_owned())
    }
}

impl From<String> for DatabaseSource {
    fn from(url: String) -> Self {
        Self { place: Place::Url(url), pooled: false }
    }
}

/// A pool, by reference and by value.
macro_rules! from_pool {
    ($feature:literal, $pool:ty, $known:ident) => {
        #[cfg(feature = $feature)]
        impl From<&$pool> for DatabaseSource {
            fn from(pool: &$pool) -> Self {
                let options = Box::new(pool.connect_options().as_ref().clone());
                Self { place: Place::Known(Known::$known(options)), pooled: false }
            }
        }

        #[cfg(feature = $feature)]
        impl From<$pool> for DatabaseSource {
            fn from(pool: $pool) -> Self {
                Self::from(&pool)
            }
        }
    };
}

from_pool!("sqlite", sqlx::SqlitePool, Sqlite);
from_pool!("postgres", sqlx::PgPool, Postgres);
from_pool!("mysql", sqlx::MySqlPool, MySql);

impl DatabaseSource {
    /// Says that the way to this PostgreSQL leads through a transaction pooler such as `PgBouncer`:
    /// nothing is prepared then, and every operation is a transaction, which costs two more round
    /// trips.
    #[must_use]
    pub const fn behind_pooler(mut self) -> Self {
        self.pooled = true;
        self
    }

    /// Opens the message store there.
    pub(crate) async fn open_store(&self) -> Result<Arc<dyn Store>, Error> {
        match self.resolve()? {
            #[cfg(feature = "sqlite")]
            Known::Sqlite(options) => Ok(Arc::new(super::sqlite::SqliteStore::open(*options).await?)),
            #[cfg(feature = "postgres")]
            Known::Postgres(options) => {
                Ok(Arc::new(super::postgres::PostgresStore::open(*options, self.pooled).await?))
            }
            #[cfg(feature = "mysql")]
            Known::MySql(options) => Ok(Arc::new(super::mysql::MySqlStore::open(*options).await?)),
        }
    }

    /// Opens the fence of the business database there.
    pub(crate) async fn open_fence(&self, lock_timeout: Duration) -> Result<Arc<dyn FenceDatabase>, Error> {
        match self.resolve()? {
            #[cfg(feature = "sqlite")]
            Known::Sqlite(options) => {
                Ok(Arc::new(super::sqlite::SqliteFence::open(*options, lock_timeout).await?))
            }
            #[cfg(feature = "postgres")]
            Known::Postgres(options) => {
                Ok(Arc::new(super::postgres::PostgresFence::open(*options, lock_timeout, self.pooled).await?))
            }
            #[cfg(feature = "mysql")]
            Known::MySql(options) => {
                Ok(Arc::new(super::mysql::MySqlFence::open(*options, lock_timeout).await?))
            }
        }
    }

    fn resolve(&self) -> Result<Known, Error> {
        let known = match &self.place {
            #[cfg(feature = "_sql")]
            Place::Known(known) => known.clone(),
            Place::Url(url) => resolve_url(url)?,
        };
        #[cfg(feature = "postgres")]
        if matches!(known, Known::Postgres(_)) {
            return Ok(known);
        }
        if self.pooled {
            return Err(configuration("`behind_pooler` is for PostgreSQL only: leave it out"));
        }
        Ok(known)
    }
}

fn scheme(url: &str) -> &str {
    url.split(':').next().unwrap_or_default()
}

// The URL itself stays out of every message: it may hold a password.
fn resolve_url(url: &str) -> Result<Known, Error> {
    match scheme(url) {
        #[cfg(feature = "sqlite")]
        "sqlite" => url.parse().map(|options| Known::Sqlite(Box::new(options))).map_err(|_| {
            configuration("the sqlite URL can't be read; it looks like `sqlite://path/to/file.db`")
        }),
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => super::url::POSTGRES.read(url).map(Known::Postgres),
        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => super::url::MYSQL.read(url).map(Known::MySql),
        #[cfg(not(feature = "sqlite"))]
        "sqlite" => Err(without_feature("sqlite")),
        #[cfg(not(feature = "postgres"))]
        "postgres" | "postgresql" => Err(without_feature("postgres")),
        #[cfg(not(feature = "mysql"))]
        "mysql" | "mariadb" => Err(without_feature("mysql")),
        _ => Err(configuration(
            "the database URL has no known scheme; it looks like `sqlite://path/to/file.db`, \
             `postgres://user:password@host/database` or `mysql://user:password@host/database`",
        )),
    }
}

#[cfg(not(all(feature = "sqlite", feature = "postgres", feature = "mysql")))]
fn without_feature(feature: &str) -> Error {
    configuration(format!(
        "a {feature}:// URL needs the feature `{feature}`: cargo add transactional-message --features {feature}"
    ))
}

pub(super) fn configuration(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Configuration, message)
}

#[cfg(all(test, feature = "_sql"))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        /// Any text is read as a URL or refused, and a password in it is not shown.
        #[test]
        fn any_text_is_read_or_refused_and_not_shown(
            scheme in prop_oneof!["(sqlite|postgres|postgresql|mysql|mariadb):(//)?", "\\PC{0,8}"], user in "\\PC{0,8}",
            password in "s3cr3t[ -~]{0,12}", rest in prop_oneof!["\\PC{0,40}", "[a-z0-9:/?=&%@#\\[\\]]{0,40}"],
        ) {
            let shown = |url: &str| {
                let source = DatabaseSource::from(url);
                let error = source.resolve().err();
                format!("{source:?} {}", error.map(|error| format!("{error} {error:?} {error:#}")).unwrap_or_default())
            };
            let url = format!("{scheme}{user}:{password}@{rest}");
            prop_assert!(!shown(&url).contains("s3cr3t"), "{url}: {}", shown(&url));
            let _ = shown(&rest);
            for alone in ["sqlite:", "postgres://", "mysql://"] {
                let _ = shown(&format!("{alone}{rest}"));
            }
        }
    }
}
