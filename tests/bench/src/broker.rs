//! RabbitMQ as a plain client sees it: the queue that all messages end in, and a way to publish.

use std::time::Instant;

use futures_util::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, ExchangeKind,
};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::shop::Payment;

/// The queue of everything.
const QUEUE: &str = "bench";
/// Makes a message survive the broker's restart.
const PERSISTENT: u8 = 2;

/// A connection to the broker.
#[derive(Debug)]
pub(crate) struct Broker {
    connection: Connection,
    channel: Channel,
}

/// When the message of a payment came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt {
    pub(crate) payment_id: Uuid,
    pub(crate) at: Instant,
}

impl Broker {
    /// Connects, and declares the exchange and the queue.
    pub(crate) async fn connect(url: &str) -> anyhow::Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let nothing = FieldTable::default;
        channel.exchange_declare(crate::EXCHANGE.into(), ExchangeKind::Topic, durable, nothing()).await?;
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(QUEUE.into(), durable, nothing()).await?;
        let (queue, exchange) = (QUEUE.into(), crate::EXCHANGE.into());
        channel.queue_bind(queue, exchange, "#".into(), QueueBindOptions::default(), nothing()).await?;
        Ok(Self { connection, channel })
    }

    /// Empties the queue.
    pub(crate) async fn purge(&self) -> anyhow::Result<()> {
        self.channel.queue_purge(QUEUE.into(), QueuePurgeOptions::default()).await?;
        Ok(())
    }

    /// How many messages are in the queue.
    pub(crate) async fn ready(&self) -> anyhow::Result<u32> {
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        Ok(self.channel.queue_declare(QUEUE.into(), passive, FieldTable::default()).await?.message_count())
    }

    /// A channel whose publishes are confirmed.
    pub(crate) async fn confirming(&self) -> anyhow::Result<Channel> {
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    /// Takes everything out of the queue, and says when it came, as soon as it comes.
    pub(crate) async fn listen(&self) -> anyhow::Result<mpsc::UnboundedReceiver<Receipt>> {
        let channel = self.connection.create_channel().await?;
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let consumer = channel.basic_consume(QUEUE.into(), "".into(), options, FieldTable::default()).await?;
        let (receipts, received) = mpsc::unbounded_channel();
        tokio::spawn(hear(consumer, receipts));
        Ok(received)
    }
}

async fn hear(mut consumer: Consumer, receipts: mpsc::UnboundedSender<Receipt>) {
    while let Some(Ok(delivery)) = consumer.next().await {
        let at = Instant::now();
        match serde_json::from_slice(&delivery.data) {
            Ok(Payment { payment_id, .. }) => {
                if receipts.send(Receipt { payment_id, at }).is_err() {
                    return;
                }
            }
            Err(error) => tracing::error!("a message can't be read: {error}"),
        }
    }
}

/// Hands a persistent message to the broker. The confirm comes later.
pub(crate) async fn publish(
    channel: &Channel,
    message_id: Uuid,
    body: &[u8],
) -> anyhow::Result<lapin::PublisherConfirm> {
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_message_id(message_id.to_string().into())
        .with_content_type("application/json".into());
    let (exchange, routing_key) = (crate::EXCHANGE.into(), crate::ROUTING_KEY.into());
    let options = BasicPublishOptions::default();
    Ok(channel.basic_publish(exchange, routing_key, options, body, properties).await?)
}

/// Waits for a confirm.
pub(crate) async fn confirmed(confirm: lapin::PublisherConfirm) -> anyhow::Result<()> {
    match confirm.await? {
        Confirmation::Ack(_) => Ok(()),
        other => anyhow::bail!("the broker did not take a message: {other:?}"),
    }
}
