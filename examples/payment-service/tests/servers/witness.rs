//! An independent AMQP client, with a library that has nothing to do with the service's: it sees
//! what really gets to the exchange.

use amqprs::BasicProperties;
use amqprs::channel::{
    BasicConsumeArguments, Channel, ConsumerMessage, ExchangeDeclareArguments, QueueBindArguments,
    QueueDeclareArguments,
};
use amqprs::connection::{Connection, OpenConnectionArguments};
use tokio::sync::mpsc::UnboundedReceiver;

/// A queue that is bound to everything that is paid.
pub(crate) struct Witness {
    connection: Connection,
    channel: Channel,
    messages: UnboundedReceiver<ConsumerMessage>,
}

/// A message as it was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    pub(crate) properties: BasicProperties,
    pub(crate) body: serde_json::Value,
}

impl Witness {
    pub(crate) async fn start(port: u16) -> Self {
        let arguments = OpenConnectionArguments::new("127.0.0.1", port, services::USER, services::PASSWORD);
        let connection = Connection::open(&arguments).await.expect("connects");
        let channel = connection.open_channel(None).await.expect("opens");
        let mut exchange = ExchangeDeclareArguments::new("payments", "topic");
        exchange.durable(true);
        channel.exchange_declare(exchange).await.expect("declares");
        let queue = QueueDeclareArguments::exclusive_server_named();
        let (queue, _, _) = channel.queue_declare(queue).await.expect("declares").expect("a queue");
        channel.queue_bind(QueueBindArguments::new(&queue, "payments", "#")).await.expect("binds");
        let mut consume = BasicConsumeArguments::new(&queue, "");
        consume.auto_ack(true);
        let (_, messages) = channel.basic_consume_rx(consume).await.expect("consumes");
        Self { connection, channel, messages }
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Seen {
        let message = self.messages.recv().await.expect("still connected");
        let delivery = message.deliver.expect("a delivery");
        Seen {
            exchange: delivery.exchange().clone(),
            routing_key: delivery.routing_key().clone(),
            properties: message.basic_properties.expect("properties"),
            body: serde_json::from_slice(&message.content.expect("a body")).expect("JSON"),
        }
    }

    /// Whether no message is waiting to be looked at.
    pub(crate) fn is_done(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) async fn leave(self) {
        self.channel.close().await.expect("closes");
        self.connection.close().await.expect("closes");
    }
}
