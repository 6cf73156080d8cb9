//! Where a database is, and what is opened there.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

#[cfg(any(feature = "postgres", feature = "mysql"))]
use super::login::Login;
use super::refusal::configuration;
#[cfg(feature = "_sql")]
use super::schema_part::{SchemaPart, TablePart};
use crate::error::{Error, ErrorKind};
use crate::fence::FenceDatabase;
use crate::sql::{TablePlace, TablePrefix};
use crate::store::Store;

/// Where a database is: a URL, or one of sqlx's pools.
///
/// The framework opens small pools of its own there: a pool shared with business code can
/// deadlock when a body holds its last connection and the framework needs one. A given pool is asked for its
/// options before each connection, so that a password that changed
/// (`Pool::set_connect_options`) is followed, and it shows
/// where the tables are: see [`schema`](Self::schema).
///
/// A URL may name several servers, of which one may be written to at a time:
/// `postgres://user:password@one,two:5433/database`, the same with `mysql://`. Each connection goes to the first that answers
/// and is neither a standby nor read-only, so that the messenger follows a failover by itself.
#[derive(Clone)]
pub struct DatabaseSource {
    location: Location,
    pooled: bool,
    place: TablePlace,
}

#[derive(Clone)]
enum Location {
    Url(String),
    /// Asked for a URL before each connection.
    Provider(Provider),
    #[cfg(feature = "_sql")]
    DriverOptions(DriverOptions),
}

type Provider = Arc<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// The way into one kind of database.
#[derive(Clone)]
enum DriverOptions {
    #[cfg(feature = "sqlite")]
    Sqlite(Box<sqlx::sqlite::SqliteConnectOptions>),
    #[cfg(feature = "postgres")]
    Postgres(Login<sqlx::Postgres>),
    #[cfg(feature = "mysql")]
    MySql(Login<sqlx::MySql>),
}

// Connection options and URLs carry passwords.
impl fmt::Debug for DatabaseSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.location {
            Location::Url(url) => match scheme(url) {
                "sqlite" => "DatabaseSource(sqlite:…)",
                "postgres" | "postgresql" => "DatabaseSource(postgres:…)",
                "mysql" | "mariadb" => "DatabaseSource(mysql:…)",
                _ => "DatabaseSource(url)",
            },
            Location::Provider(_) => "DatabaseSource(provider)",
            #[cfg(feature = "_sql")]
            Location::DriverOptions(_) => "DatabaseSource(pool)",
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
        Self::at(Location::Url(url))
    }
}

/// A pool, by reference and by value.
macro_rules! from_pool {
    ($feature:literal, $pool:ty, $options:expr) => {
        #[cfg(feature = $feature)]
        impl From<&$pool> for DatabaseSource {
            fn from(pool: &$pool) -> Self {
                Self::at(Location::DriverOptions($options(pool)))
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

// A SQLite file has neither passwords nor schemas.
from_pool!("sqlite", sqlx::SqlitePool, |pool: &sqlx::SqlitePool| DriverOptions::Sqlite(Box::new(
    pool.connect_options().as_ref().clone()
)));
from_pool!("postgres", sqlx::PgPool, |pool| DriverOptions::Postgres(Login::of_pool(pool)));
from_pool!("mysql", sqlx::MySqlPool, |pool| DriverOptions::MySql(Login::of_pool(pool)));

#[cfg(any(feature = "postgres", feature = "mysql"))]
const STORE: &str = "message store";
#[cfg(any(feature = "postgres", feature = "mysql"))]
const FENCE: &str = "fence";

impl DatabaseSource {
    /// Says that the way to this PostgreSQL leads through a transaction pooler such as `PgBouncer`:
    /// nothing is prepared then, and every operation is a transaction, which costs two more round
    /// trips.
    #[must_use]
    pub const fn behind_pooler(mut self) -> Self {
        self.pooled = true;
        self
    }

    /// The PostgreSQL schema, or MySQL database, of the framework's tables there.
    ///
    /// Default: where they are as the connections of the given pool (else of the URL) see it, its hooks and its role's
    /// settings included; if there are none yet, the current schema or database of such a connection. It is found
    /// once, in [`build`](crate::MessengerBuilder::build). From then on, a `search_path`, a role or a `USE` that business code
    /// sets moves nothing: the framework's statements name the schema.
    #[must_use]
    pub fn schema(mut self, schema: impl fmt::Display) -> Self {
        self.place.schema = Some(schema.to_string());
        self
    }

    /// What the names of the framework's tables, indexes and routines there begin with. Default: `tm_`. For those who may have no
    /// such names, or who keep two stores, or two fences, in one schema: they are different ones then.
    ///
    /// Lower-case letters, digits and underscores, at most 32; it ends with an underscore. For PostgreSQL and MySQL. The texts of
    /// errors, and this documentation, name the tables by the default. No table of yours may begin with it. Whoever lets somebody else
    /// run the files in `migrations` replaces the names there, too, but for the text `'tm_fence_'` in `postgres/fence_4.sql`.
    #[must_use]
    pub fn table_prefix(mut self, prefix: impl fmt::Display) -> Self {
        self.place.prefix = TablePrefix::new(&prefix.to_string());
        self
    }

    /// A database whose URL is asked for before each connection, for passwords that live shortly:
    /// where they come from a token service, say. Not needed where a pool is given.
    ///
    /// Called often at most as connections are made, which is seldom; it has a part of the five seconds that an
    /// operation may take, so keep a token for as long as it lives. The URL is not logged; the text of an error is.
    ///
    /// ```
    /// # async fn token() -> Result<String, std::io::Error> { Ok(String::new()) }
    /// # use transactional_message::DatabaseSource;
    /// let store = DatabaseSource::from_provider(async || {
    ///     Ok::<_, std::io::Error>(format!("postgres://shop:{}@db.internal/shop", token().await?))
    /// });
    /// ```
    pub fn from_provider<F, Fut, E>(provider: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, E>> + Send + 'static,
        E: fmt::Display,
    {
        let ask = move || {
            let url = provider();
            Box::pin(async move { url.await.map_err(|error| error.to_string()) }) as BoxFuture<'static, _>
        };
        Self::at(Location::Provider(Arc::new(ask)))
    }

    fn at(location: Location) -> Self {
        Self { location, pooled: false, place: TablePlace::default() }
    }

    /// Opens the message store there.
    pub(crate) async fn open_store(&self) -> Result<Arc<dyn Store>, Error> {
        #[cfg(any(feature = "postgres", feature = "mysql"))]
        let place = &self.place;
        match self.resolve().await? {
            #[cfg(feature = "sqlite")]
            DriverOptions::Sqlite(options) => Ok(Arc::new(super::sqlite::SqliteStore::open(*options).await?)),
            #[cfg(feature = "postgres")]
            DriverOptions::Postgres(login) => {
                Ok(Arc::new(super::postgres::PostgresStore::open(login.of(STORE), place, self.pooled).await?))
            }
            #[cfg(feature = "mysql")]
            DriverOptions::MySql(login) => {
                Ok(Arc::new(super::mysql::MySqlStore::open(login.of(STORE), place).await?))
            }
        }
    }

    /// Opens the fence of the business database there.
    pub(crate) async fn open_fence(&self, lock_timeout: Duration) -> Result<Arc<dyn FenceDatabase>, Error> {
        #[cfg(any(feature = "postgres", feature = "mysql"))]
        let place = &self.place;
        match self.resolve().await? {
            #[cfg(feature = "sqlite")]
            DriverOptions::Sqlite(options) => {
                Ok(Arc::new(super::sqlite::SqliteFence::open(*options, lock_timeout).await?))
            }
            #[cfg(feature = "postgres")]
            DriverOptions::Postgres(login) => Ok(Arc::new(
                super::postgres::PostgresFence::open(login.of(FENCE), place, lock_timeout, self.pooled)
                    .await?,
            )),
            #[cfg(feature = "mysql")]
            DriverOptions::MySql(login) => {
                Ok(Arc::new(super::mysql::MySqlFence::open(login.of(FENCE), place, lock_timeout).await?))
            }
        }
    }

    /// Which tables a part has there.
    #[cfg(feature = "_sql")]
    pub(super) async fn tables(&self, part: TablePart) -> Result<SchemaPart, Error> {
        macro_rules! of {
            ($database:ident) => {
                Ok(match part {
                    TablePart::Message => super::$database::MESSAGE,
                    TablePart::Fence => super::$database::FENCE,
                    TablePart::Inbox => super::$database::INBOX,
                })
            };
        }
        match self.resolve().await? {
            #[cfg(feature = "sqlite")]
            DriverOptions::Sqlite(_) => of!(sqlite),
            #[cfg(feature = "postgres")]
            DriverOptions::Postgres(_) => of!(postgres),
            #[cfg(feature = "mysql")]
            DriverOptions::MySql(_) => of!(mysql),
        }
    }

    #[cfg(feature = "_sql")]
    pub(super) const fn prefix(&self) -> &TablePrefix {
        &self.place.prefix
    }

    async fn resolve(&self) -> Result<DriverOptions, Error> {
        let options = match &self.location {
            #[cfg(feature = "_sql")]
            Location::DriverOptions(options) => options.clone(),
            Location::Url(url) => resolve_url(url)?,
            Location::Provider(provider) => {
                let url = provider().await.map_err(|why| Error::new(ErrorKind::Unavailable, no_url(&why)))?;
                let options = resolve_url(&url)?;
                #[cfg(any(feature = "postgres", feature = "mysql"))]
                let options = ask_each_time(&options, provider);
                options
            }
        };
        if let Some(problem) = self.place.prefix.problem() {
            return Err(configuration(&problem));
        }
        #[cfg(feature = "postgres")]
        if matches!(options, DriverOptions::Postgres(_)) {
            return Ok(options);
        }
        if self.pooled {
            return Err(configuration("`behind_pooler` is for PostgreSQL only: leave it out"));
        }
        #[cfg(feature = "sqlite")]
        if matches!(options, DriverOptions::Sqlite(_)) {
            if self.place.schema.is_some() {
                return Err(configuration(
                    "`schema` is for PostgreSQL and MySQL: a SQLite file has none, leave it out",
                ));
            }
            if !self.place.prefix.is_default() {
                return Err(configuration(
                    "`table_prefix` is for PostgreSQL and MySQL: leave it out for a SQLite file",
                ));
            }
        }
        Ok(options)
    }
}

fn no_url(why: &str) -> String {
    format!("the provider gave no URL for the database: {why}")
}

/// What a provider's URL leads to is asked for again before each connection.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn ask_each_time(options: &DriverOptions, provider: &Provider) -> DriverOptions {
    match options {
        #[cfg(feature = "sqlite")]
        DriverOptions::Sqlite(options) => DriverOptions::Sqlite(options.clone()),
        #[cfg(feature = "postgres")]
        DriverOptions::Postgres(_) => DriverOptions::Postgres(asking(provider, &super::url::POSTGRES)),
        #[cfg(feature = "mysql")]
        DriverOptions::MySql(_) => DriverOptions::MySql(asking(provider, &super::url::MYSQL)),
    }
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
fn asking<DB: sqlx::Database>(provider: &Provider, format: &'static super::url::UrlFormat) -> Login<DB>
where
    super::login::Options<DB>: std::str::FromStr,
{
    let provider = Arc::clone(provider);
    Login::asking(move || {
        let url = provider();
        Box::pin(async move {
            let failed = |why: String| sqlx::Error::Configuration(why.into());
            let url = url.await.map_err(|why| failed(no_url(&why)))?;
            format.read(&url).map_err(|error| failed(error.to_string()))
        })
    })
}

fn scheme(url: &str) -> &str {
    url.split(':').next().unwrap_or_default()
}

// The URL itself stays out of every message: it may hold a password.
fn resolve_url(url: &str) -> Result<DriverOptions, Error> {
    match scheme(url) {
        #[cfg(feature = "sqlite")]
        "sqlite" => url.parse().map(|options| DriverOptions::Sqlite(Box::new(options))).map_err(|_| {
            configuration("the sqlite URL can't be read; it looks like `sqlite://path/to/file.db`")
        }),
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => {
            super::url::POSTGRES.read(url).map(|servers| DriverOptions::Postgres(Login::fixed(servers)))
        }
        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => {
            super::url::MYSQL.read(url).map(|servers| DriverOptions::MySql(Login::fixed(servers)))
        }
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

#[cfg(all(test, feature = "_sql"))]
mod tests {
    use futures_util::FutureExt;
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
                let error = source.resolve().now_or_never().expect("asks nobody").err();
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
