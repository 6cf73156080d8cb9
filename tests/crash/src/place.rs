//! Where a run takes place: a directory, three databases, and its part of the broker, all its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::books;
use crate::broker::{Broker, server};
use crate::database::{Database, Kind};

const DATABASES: [&str; 3] = ["store", "business", "accounting"];

/// The database that the message store is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
pub(crate) enum StoreIn {
    /// One of its own.
    Own,
    /// That of the business.
    Business,
}

/// Where the run's things are. The directory also holds what callers were told, and the log.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    pub(crate) kind: Kind,
    /// The database server; none for SQLite.
    server: Option<String>,
    name: String,
    store_in: StoreIn,
    /// None: delivery is within the process.
    pub(crate) broker: Option<Broker>,
}

impl Place {
    /// Makes a new one, with the tables of both sides.
    pub(crate) async fn create(kind: Kind, with_broker: bool, store_in: StoreIn) -> anyhow::Result<Self> {
        let broker = with_broker.then(|| server("TM_TEST_AMQP_URL")).transpose()?;
        let server = match kind {
            Kind::Sqlite => None,
            Kind::Postgres => Some(server("TM_TEST_POSTGRES_URL")?),
            Kind::MySql => Some(server("TM_TEST_MYSQL_URL")?),
        };
        Self::create_on(kind, server, broker, store_in).await
    }

    /// Makes a new one on these servers, instead of those that the environment names.
    pub(crate) async fn create_on(
        kind: Kind,
        server: Option<String>,
        broker: Option<String>,
        store_in: StoreIn,
    ) -> anyhow::Result<Self> {
        let directory =
            tempfile::Builder::new().prefix("crash-").tempdir_in(services::data_directory())?.keep();
        let name = format!("crash_{:012x}", fastrand::u64(..1 << 48));
        let broker = broker.map(|url| Broker::new(url, name.clone()));
        let place = Self { directory, kind, server, name, store_in, broker };
        fs::write(place.directory.join("place.json"), serde_json::to_vec_pretty(&place)?)?;
        place.on_server("CREATE DATABASE").await?;
        books::create_tables(&place).await?;
        Ok(place)
    }

    /// Finds the one whose directory this is.
    pub(crate) fn find(directory: &Path) -> anyhow::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(directory.join("place.json"))?)?)
    }

    /// Removes it; but keeps it when what took place there failed, unless it is to be discarded.
    pub(crate) async fn conclude(self, played: anyhow::Result<()>, discard: bool) -> anyhow::Result<()> {
        if played.is_ok() || discard {
            self.remove().await.context("removing what was made")?;
            return played;
        }
        played.with_context(|| format!("what there is was kept in {}", self.describe()))
    }

    async fn remove(self) -> anyhow::Result<()> {
        if let Some(broker) = &self.broker {
            broker.remove().await?;
        }
        self.on_server("DROP DATABASE").await?;
        fs::remove_dir_all(&self.directory)?;
        Ok(())
    }

    /// The name of the exchange, and of the queue.
    pub(crate) fn exchange(&self) -> String {
        self.name.clone()
    }

    /// Where to look when something is wrong.
    fn describe(&self) -> String {
        let databases = match self.kind {
            Kind::Sqlite => String::new(),
            _ => format!(
                ", in the databases {}",
                DATABASES.map(|name| format!("{}_{name}", self.name)).join(", ")
            ),
        };
        let queue = self.broker.as_ref().map(|broker| format!(", and in the queue {}", broker.name));
        format!("{}{databases}{}", self.directory.display(), queue.unwrap_or_default())
    }

    pub(crate) async fn store(&self) -> anyhow::Result<Database> {
        self.open("store", None).await
    }

    pub(crate) async fn business(&self) -> anyhow::Result<Database> {
        self.open("business", None).await
    }

    pub(crate) async fn accounting(&self) -> anyhow::Result<Database> {
        self.open("accounting", None).await
    }

    /// The same by another way, such as a proxy.
    pub(crate) async fn store_by(&self, way: SocketAddr) -> anyhow::Result<Database> {
        self.open("store", Some(way)).await
    }

    /// The same by another way, such as a proxy.
    pub(crate) async fn business_by(&self, way: SocketAddr) -> anyhow::Result<Database> {
        self.open("business", Some(way)).await
    }

    /// `host:port` of the database server.
    pub(crate) fn address(&self) -> anyhow::Result<String> {
        let server = self.server.as_deref().context("this needs a database server: not SQLite")?;
        let url: Url = server.parse().context("the database server's URL")?;
        let default = if self.kind == Kind::Postgres { 5432 } else { 3306 };
        Ok(format!("{}:{}", url.host_str().unwrap_or("127.0.0.1"), url.port().unwrap_or(default)))
    }

    async fn open(&self, which: &str, way: Option<SocketAddr>) -> anyhow::Result<Database> {
        let which = match (which, self.store_in) {
            ("store", StoreIn::Business) => "business",
            _ => which,
        };
        let url = match &self.server {
            None => format!("sqlite://{}", self.directory.join(which).with_extension("db").display()),
            Some(server) => {
                let mut url: Url = server.parse().context("the database server's URL")?;
                url.set_path(&format!("{}_{which}", self.name));
                if let Some(way) = way {
                    url.set_host(Some(&way.ip().to_string()))?;
                    let _ = url.set_port(Some(way.port()));
                }
                url.into()
            }
        };
        Database::open(self.kind, &url).await.with_context(|| format!("opening the database `{which}`"))
    }

    async fn on_server(&self, what: &str) -> anyhow::Result<()> {
        let Some(server) = &self.server else { return Ok(()) };
        let server = Database::open(self.kind, server).await?;
        // Whoever was killed may still be connected.
        let force =
            if what.starts_with("DROP") && self.kind == Kind::Postgres { " WITH (FORCE)" } else { "" };
        for database in DATABASES {
            server.run(&format!("{what} {}_{database}{force}", self.name)).await?;
        }
        server.close().await;
        Ok(())
    }
}
