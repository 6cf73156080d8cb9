//! PostgreSQL behind a transaction pooler: a database of the test's own.
//!
//! The pooler knows no search path, so the business, the consumers and the store share a database,
//! as they often do. Business code prepares nothing, either.

use services::Server;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, Postgres};
use tokio::sync::OnceCell;
use transactional_message::DatabaseSource;
use url::Url;

use super::place::{fresh_name, is_left};
use super::postgres::{connect, server};
use super::{Dialect, Place, Remote};

/// A database on the server that `TM_TEST_POSTGRES_URL` leads to, and the way to it through a pooler.
#[derive(Clone, Debug)]
pub struct PooledDatabase {
    name: String,
    pooler: &'static str,
}

/// One for all tests of a process.
static POOLER: OnceCell<Server> = OnceCell::const_new();

async fn pooler() -> Server {
    let mut connection = connect(&server()).await;
    let databases = Postgres::texts(&mut connection, "SELECT datname::text FROM pg_database").await;
    for database in databases.expect("reads").iter().filter(|database| is_left(database)) {
        // Others may be cleaning, too.
        _ = Postgres::run(&mut connection, format!("DROP DATABASE {database} WITH (FORCE)")).await;
    }
    services::pgbouncer::start(&server()).await.expect("a pooler")
}

impl PooledDatabase {
    fn options(&self) -> PgConnectOptions {
        self.url("").parse().expect("a URL")
    }
}

impl Place for PooledDatabase {
    type Db = Postgres;

    const ONE_SERVER: bool = false;

    async fn new() -> Self {
        let pooler = POOLER.get_or_init(pooler).await.url();
        let name = fresh_name();
        let mut connection = connect(&server()).await;
        // The pooler takes no settings of a session, so `impatient` are all.
        let impatient = format!("ALTER DATABASE {name} SET lock_timeout = '1s'");
        for sql in [format!("CREATE DATABASE {name}"), impatient] {
            Postgres::run(&mut connection, sql).await.expect("creates a database");
        }
        Self { name, pooler }
    }

    async fn create(&self, _: &[&str]) {
        // They are all the same.
    }

    fn url(&self, _: &str) -> String {
        let mut url: Url = self.pooler.parse().expect("a URL");
        url.set_path(&self.name);
        url.into()
    }

    fn database(&self, name: &str) -> DatabaseSource {
        DatabaseSource::from(self.url(name)).behind_pooler()
    }

    fn database_of(pool: &PgPool) -> DatabaseSource {
        DatabaseSource::from(pool).behind_pooler()
    }

    fn pool(&self, _: &str, connections: u32) -> PgPool {
        PgPoolOptions::new().max_connections(connections).connect_lazy_with(self.options())
    }

    fn impatient(&self, name: &str) -> PgPool {
        self.pool(name, 4)
    }
}

impl Remote for PooledDatabase {
    async fn cut(&self) -> u64 {
        let name = &self.name;
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
        Postgres::run(&mut connect(&server()).await, end).await.expect("ends sessions")
    }
}
