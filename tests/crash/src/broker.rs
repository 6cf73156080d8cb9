//! A run's part of RabbitMQ: an exchange and queues of its own.

use std::env;
use std::time::Duration;

use anyhow::Context;
use lapin::options::{ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use serde::{Deserialize, Serialize};
use transactional_message::{ExchangeKind, RabbitMq};

/// The pause after a failed attempt at a message.
pub(crate) const RETRY_DELAYS: Duration = Duration::from_millis(100);
const RETRY_QUEUE: &str = "retry.100ms";

/// Where the broker is, and the name of the run's exchange and queue.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Broker {
    url: String,
    pub(crate) name: String,
}

impl Broker {
    pub(crate) const fn new(url: String, name: String) -> Self {
        Self { url, name }
    }

    pub(crate) fn settings(&self) -> RabbitMq {
        RabbitMq::new(&self.url).exchange(&self.name, ExchangeKind::Topic)
    }

    /// How many messages wait in the queue, or for their next attempt; none if there is no queue yet.
    pub(crate) async fn waiting(&self) -> anyhow::Result<u32> {
        Ok(self.ready(&self.name).await? + self.ready(&format!("{}.{RETRY_QUEUE}", self.name)).await?)
    }

    /// How many messages nobody could handle.
    pub(crate) async fn dead(&self) -> anyhow::Result<u32> {
        self.ready(&format!("{}.dead", self.name)).await
    }

    async fn ready(&self, queue: &str) -> anyhow::Result<u32> {
        let connection = self.connect().await?;
        let channel = connection.create_channel().await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let seen = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        let ready = seen.map_or(0, |queue| queue.message_count());
        let _ = connection.close(200, "good-bye".into()).await;
        Ok(ready)
    }

    pub(crate) async fn remove(&self) -> anyhow::Result<()> {
        let connection = self.connect().await?;
        let channel = connection.create_channel().await?;
        for queue in
            [self.name.clone(), format!("{}.dead", self.name), format!("{}.{RETRY_QUEUE}", self.name)]
        {
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
        }
        channel.exchange_delete(self.name.as_str().into(), ExchangeDeleteOptions::default()).await?;
        connection.close(200, "good-bye".into()).await?;
        Ok(())
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        let connected = Connection::connect(&self.url, ConnectionProperties::default()).await;
        connected.context("RabbitMQ could not be reached")
    }
}

/// The URL of a server, out of the environment.
pub(crate) fn server(variable: &str) -> anyhow::Result<String> {
    env::var(variable).with_context(|| {
        format!(
            "{variable} is not set: run tests/run, or `cargo run -p services -- run -- cargo test -p crash`, \
             or set it to the URL of a server"
        )
    })
}
