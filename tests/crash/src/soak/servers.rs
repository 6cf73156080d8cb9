//! The servers that are harmed.

use services::{Server, mariadb, postgres, rabbitmq};

use crate::database::Kind;

#[derive(Debug)]
pub(super) struct Servers {
    /// None for SQLite.
    pub(super) database: Option<Server>,
    pub(super) broker: rabbitmq::Server,
}

impl Servers {
    pub(super) async fn start(kind: Kind) -> anyhow::Result<Self> {
        let database = match kind {
            Kind::Sqlite => None,
            Kind::Postgres => Some(postgres::start().await?),
            Kind::MySql => Some(mariadb::start().await?),
        };
        Ok(Self { database, broker: rabbitmq::start().await? })
    }

    /// Of the database, and of the broker.
    pub(super) fn urls(&self) -> (Option<String>, String) {
        (self.database.as_ref().map(|server| server.url().to_owned()), self.broker.url().to_owned())
    }

    /// Of the database.
    pub(super) fn port(&self) -> Option<u16> {
        self.database.as_ref().map(Server::port)
    }
}
