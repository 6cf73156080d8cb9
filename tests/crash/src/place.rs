//! Where a run takes place: a directory, three databases, and its part of the broker, all its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::books;
use crate::broker::{Broker, server};
use crate::database::{Database, Kind};

const DATABASES: [&str; 3] = ["store", "business", "accounting"];

/// Where the run's things are. The directory also holds what callers were told, and the log.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    pub(crate) kind: Kind,
    /// The database server; none for SQLite.
    server: Option<String>,
    name: String,
    /// None: delivery is within the process.
    pub(crate) broker: Option<Broker>,
}

impl Place {
    /// Makes a new one, with the tables of both sides.
    pub(crate) async fn create(kind: Kind, with_broker: bool) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("crash-").tempdir()?.keep();
        let name = format!("crash_{:012x}", fastrand::u64(..1 << 48));
        let broker = with_broker.then(|| Broker::from_environment(&name)).transpose()?;
        let server = match kind {
            Kind::Sqlite => None,
            Kind::Postgres => Some(server("TM_TEST_POSTGRES_URL")?),
            Kind::MySql => Some(server("TM_TEST_MYSQL_URL")?),
        };
        let place = Self { directory, kind, server, name, broker };
        fs::write(place.directory.join("place.json"), serde_json::to_vec_pretty(&place)?)?;
        place.on_server("CREATE DATABASE").await?;
        books::create_tables(&place).await?;
        Ok(place)
    }

    /// Finds the one whose directory this is.
    pub(crate) fn find(directory: &Path) -> anyhow::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(directory.join("place.json"))?)?)
    }

    pub(crate) async fn remove(self) -> anyhow::Result<()> {
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
    pub(crate) fn describe(&self) -> String {
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
        self.open("store").await
    }

    pub(crate) async fn business(&self) -> anyhow::Result<Database> {
        self.open("business").await
    }

    pub(crate) async fn accounting(&self) -> anyhow::Result<Database> {
        self.open("accounting").await
    }

    async fn open(&self, which: &str) -> anyhow::Result<Database> {
        let url = match &self.server {
            None => format!("sqlite://{}", self.directory.join(which).with_extension("db").display()),
            Some(server) => {
                let mut url: Url = server.parse().context("the database server's URL")?;
                url.set_path(&format!("{}_{which}", self.name));
                url.into()
            }
        };
        Database::open(self.kind, &url).await.with_context(|| format!("opening the database `{which}`"))
    }

    async fn on_server(&self, what: &str) -> anyhow::Result<()> {
        let Some(server) = &self.server else { return Ok(()) };
        let server = Database::open(self.kind, server).await?;
        for database in DATABASES {
            server.run(&format!("{what} {}_{database}", self.name)).await?;
        }
        server.close().await;
        Ok(())
    }
}
