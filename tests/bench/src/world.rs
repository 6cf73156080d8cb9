//! The servers of a run, and a database of its own for each contestant.

use std::fs;
use std::ops::Deref;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use services::Server;
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{MySql, MySqlPool, PgPool, Pool, Postgres, Sqlite};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::cpu::Cpu;
use crate::distance;
use crate::options::scratch;
use crate::shop::Shop;

/// Connections of every contestant's business pool, whose other options are those of sqlx. What a
/// contestant needs besides, such as a poller's connection or our message store's own pool, comes on top.
pub(crate) const CONNECTIONS: u32 = 32;

/// The servers, each started when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// What is added to every round trip to PostgreSQL.
    distance: Option<Duration>,
    postgres: OnceCell<Server>,
    postgres_url: OnceCell<String>,
    mariadb: OnceCell<Server>,
    rabbitmq: OnceCell<services::rabbitmq::Server>,
    files: OnceCell<TempDir>,
}

/// A contestant's database.
#[derive(Debug)]
pub(crate) struct Place<DB: Shop> {
    pub(crate) url: String,
    pub(crate) pool: Pool<DB>,
}

impl World {
    pub(crate) fn new(distance: Option<Duration>) -> Self {
        Self { distance, ..Self::default() }
    }

    pub(crate) async fn postgres(&self) -> anyhow::Result<&Server> {
        self.postgres.get_or_try_init(services::postgres::start).await
    }

    /// How contestants reach PostgreSQL.
    pub(crate) async fn postgres_url(&self) -> anyhow::Result<&str> {
        let server = self.postgres().await?;
        let url = async || match self.distance {
            Some(distance) => {
                let proxy = distance::add(([127, 0, 0, 1], server.port()).into(), distance)?;
                let (near, far) = (format!(":{}/", server.port()), format!(":{}/", proxy.port()));
                anyhow::Ok(server.url().replace(&near, &far))
            }
            None => Ok(server.url().to_owned()),
        };
        Ok(self.postgres_url.get_or_try_init(url).await?)
    }

    pub(crate) async fn rabbitmq(&self) -> anyhow::Result<&services::rabbitmq::Server> {
        self.rabbitmq.get_or_try_init(services::rabbitmq::start).await
    }

    async fn mariadb(&self) -> anyhow::Result<&Server> {
        self.mariadb.get_or_try_init(services::mariadb::start).await
    }

    /// What counts as the cost of a call: this process, and the servers that run now.
    pub(crate) fn cpu(&self) -> Cpu {
        let servers = self.postgres.get().into_iter().chain(self.mariadb.get());
        let servers = servers.chain(self.rabbitmq.get().map(Deref::deref));
        Cpu::of(&servers.map(|server| server.directory().to_owned()).collect::<Vec<_>>())
    }

    /// A file on a real disk, where a commit costs what it costs.
    async fn file(&self, name: &str) -> anyhow::Result<PathBuf> {
        let make = async || {
            let folder = scratch()?;
            fs::create_dir_all(&folder)?;
            anyhow::Ok(TempDir::new_in(folder)?)
        };
        Ok(self.files.get_or_try_init(make).await?.path().join(format!("{name}.db")))
    }
}

/// A kind of database that a contestant can have.
pub(crate) trait Open: Shop {
    /// Creates a database of this name, with the tables of the business.
    fn open(world: &World, name: &str) -> impl Future<Output = anyhow::Result<Place<Self>>>;

    /// What the server calls itself.
    fn version(world: &World) -> impl Future<Output = anyhow::Result<String>>;
}

impl Open for Postgres {
    async fn open(world: &World, name: &str) -> anyhow::Result<Place<Self>> {
        let server = world.postgres_url().await?;
        let admin = PgPool::connect(server).await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&admin).await?;
        admin.close().await;
        let url = with_database(server, name)?;
        let pool = postgres_pool(&url).await?;
        Self::create_tables(&pool).await?;
        Ok(Place { url, pool })
    }

    async fn version(world: &World) -> anyhow::Result<String> {
        let pool = PgPool::connect(world.postgres().await?.url()).await?;
        let version: String = sqlx::query_scalar("SHOW server_version").fetch_one(&pool).await?;
        Ok(format!("PostgreSQL {version}"))
    }
}

impl Open for MySql {
    async fn open(world: &World, name: &str) -> anyhow::Result<Place<Self>> {
        let server = world.mariadb().await?.url();
        let admin = MySqlPool::connect(server).await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&admin).await?;
        admin.close().await;
        let url = with_database(server, name)?;
        let pool = MySqlPoolOptions::new().max_connections(CONNECTIONS).connect(&url).await?;
        Self::create_tables(&pool).await?;
        Ok(Place { url, pool })
    }

    async fn version(world: &World) -> anyhow::Result<String> {
        let pool = MySqlPool::connect(world.mariadb().await?.url()).await?;
        Ok(sqlx::query_scalar("SELECT version()").fetch_one(&pool).await?)
    }
}

impl Open for Sqlite {
    async fn open(world: &World, name: &str) -> anyhow::Result<Place<Self>> {
        let file = world.file(name).await?;
        let url = format!("sqlite://{}?mode=rwc", file.display());
        let options = SqliteConnectOptions::from_str(&url)?
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(30));
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await?;
        Self::create_tables(&pool).await?;
        Ok(Place { url, pool })
    }

    async fn version(_: &World) -> anyhow::Result<String> {
        let pool = sqlx::SqlitePool::connect("sqlite::memory:").await?;
        let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&pool).await?;
        Ok(format!("SQLite {version}"))
    }
}

pub(crate) async fn postgres_pool(url: &str) -> anyhow::Result<PgPool> {
    Ok(PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .connect_with(PgConnectOptions::from_str(url)?)
        .await?)
}

/// The URL of another database on the same server.
fn with_database(url: &str, name: &str) -> anyhow::Result<String> {
    let (server, _) = url.rsplit_once('/').context("the server's URL names no database")?;
    Ok(format!("{server}/{name}"))
}
