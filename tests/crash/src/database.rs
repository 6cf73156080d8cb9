//! The databases on which the matrix runs, with the same statements for each.

use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, MySqlPool, PgPool, SqlitePool};
use transactional_message::DatabaseSource;

/// Connections of a pool. More than there are callers, or messages handled at once.
const CONNECTIONS: u32 = 12;
const PATIENCE: Duration = Duration::from_secs(30);

/// A kind of database.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
    #[value(name = "mysql")]
    MySql,
}

/// A pool of one of them.
#[derive(Clone, Debug)]
pub(crate) enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
    MySql(MySqlPool),
}

/// Runs an expression with the pool, whichever it is.
macro_rules! with_pool {
    ($database:expr, $pool:ident => $run:expr) => {
        match $database {
            $crate::database::Database::Sqlite($pool) => $run,
            $crate::database::Database::Postgres($pool) => $run,
            $crate::database::Database::MySql($pool) => $run,
        }
    };
}
pub(crate) use with_pool;

impl Database {
    pub(crate) async fn open(kind: Kind, url: &str) -> anyhow::Result<Self> {
        Ok(match kind {
            Kind::Sqlite => {
                let options: SqliteConnectOptions = url.parse()?;
                let options = options
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .busy_timeout(Duration::from_secs(10));
                let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
                Self::Sqlite(pool.connect_with(options).await?)
            }
            Kind::Postgres => {
                let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
                Self::Postgres(pool.connect(url).await.context("PostgreSQL could not be reached")?)
            }
            Kind::MySql => {
                let pool = MySqlPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
                Self::MySql(pool.connect(url).await.context("MySQL could not be reached")?)
            }
        })
    }

    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::Sqlite(_) => Kind::Sqlite,
            Self::Postgres(_) => Kind::Postgres,
            Self::MySql(_) => Kind::MySql,
        }
    }

    /// A statement, with placeholders as this database has them instead of `?`.
    pub(crate) fn sql(&self, statement: &str) -> AssertSqlSafe<String> {
        if self.kind() != Kind::Postgres {
            return AssertSqlSafe(statement.to_owned());
        }
        let place = |(index, part)| if index == 0 { String::from(part) } else { format!("${index}{part}") };
        let sql = statement.split('?').enumerate().map(place).collect();
        AssertSqlSafe(sql)
    }

    /// Runs statements without values.
    pub(crate) async fn run(&self, script: &str) -> anyhow::Result<()> {
        let script = AssertSqlSafe(script.to_owned());
        with_pool!(self, pool => { sqlx::raw_sql(script).execute(pool).await?; });
        Ok(())
    }

    /// The type of a UUID.
    pub(crate) const fn id(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "BLOB",
            Self::Postgres(_) => "uuid",
            Self::MySql(_) => "BINARY(16)",
        }
    }

    pub(crate) async fn close(&self) {
        with_pool!(self, pool => pool.close().await);
    }
}

impl From<&Database> for DatabaseSource {
    fn from(database: &Database) -> Self {
        with_pool!(database, pool => pool.into())
    }
}
