//! A real RabbitMQ, with names of their own for each test, and a plain client beside the messenger.

use std::env;
use std::time::Duration;

use crate::AnsweredBy;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, BasicQosOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use transactional_message::{Message, MessageId, Messenger, MessengerBuilder, RabbitMq};
use uuid::Uuid;

use crate::{Proxy, ShopError, wait_until};

/// Says where the broker is.
const VARIABLE: &str = "TM_TEST_AMQP_URL";

/// One test's part of the broker.
#[derive(Debug)]
pub struct Rabbit {
    /// The broker's URL.
    pub url: String,
    /// The test's own exchange: topic, durable. Declared only when somebody does.
    pub exchange: String,
    suffix: String,
    connection: Connection,
    channel: Channel,
}

/// A message that the plain client took out of a queue, and acknowledged.
#[derive(Debug)]
pub struct Taken {
    /// Its properties.
    pub properties: BasicProperties,
    /// Its body.
    pub body: Vec<u8>,
}

impl Taken {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<String> {
        match self.properties.headers().as_ref()?.inner().get(name)? {
            AMQPValue::LongString(text) => Some(text.to_string()),
            AMQPValue::LongLongInt(number) => Some(number.to_string()),
            other => Some(format!("{other:?}")),
        }
    }

    /// The message's id.
    pub fn id(&self) -> MessageId {
        self.properties.message_id().as_ref().expect("an id").as_str().parse().expect("a UUID")
    }
}

impl Rabbit {
    /// Connects to the broker that the environment names.
    pub async fn new() -> Self {
        let url = env::var(VARIABLE).unwrap_or_else(|_| {
            panic!(
                "these tests need a RabbitMQ (3.10 or newer): set {VARIABLE}, as in \
                 `{VARIABLE}=amqp://guest:guest@127.0.0.1:5672`"
            )
        });
        Self::at(&url).await
    }

    /// Connects to a broker of the test's own.
    pub async fn at(url: &str) -> Self {
        let connecting = Connection::connect(url, ConnectionProperties::default());
        let connection = connecting.await.expect("RabbitMQ is there");
        let channel = connection.create_channel().await.expect("a channel");
        let (url, suffix) = (url.to_owned(), Uuid::new_v4().simple().to_string());
        Self { url, exchange: format!("shop-{suffix}"), suffix, connection, channel }
    }

    /// The test's own name for a queue.
    pub fn queue(&self, name: &str) -> String {
        format!("{name}-{}", self.suffix)
    }

    /// How the messenger gets to the broker, with the test's exchange declared.
    pub fn settings(&self) -> RabbitMq {
        RabbitMq::new(&self.url).exchange(&self.exchange, transactional_message::ExchangeKind::Topic)
    }

    /// The same for a builder.
    pub fn with(&self, builder: MessengerBuilder) -> MessengerBuilder {
        builder.rabbitmq(self.settings())
    }

    /// A proxy in front of the broker, and the broker's URL through it.
    pub async fn proxy(&self, is_open: bool) -> (Proxy, String) {
        let (scheme, rest) = self.url.split_once("://").expect("a URL");
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (login, host) = authority.rsplit_once('@').unwrap_or(("guest:guest", authority));
        let host = if host.contains(':') { host.to_owned() } else { format!("{host}:5672") };
        let proxy = Proxy::new(&host, is_open).await.expect("a free port");
        let url = format!("{scheme}://{login}@{}{path}", proxy.address());
        (proxy, url)
    }

    /// Declares the test's exchange.
    pub async fn declare_exchange(&self) {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let name = self.exchange.as_str().into();
        let declared =
            self.channel.exchange_declare(name, ExchangeKind::Topic, options, FieldTable::default());
        declared.await.expect("declares");
    }

    /// Declares a durable queue with these arguments. `Err`: what the broker says against it.
    pub async fn declare(&self, queue: &str, arguments: &[(&str, AMQPValue)]) -> Result<(), String> {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let mut table = FieldTable::default();
        for (name, value) in arguments {
            table.insert((*name).into(), value.clone());
        }
        // A refusal ends the channel.
        let channel = self.connection.create_channel().await.expect("a channel");
        let declared = channel.queue_declare(queue.into(), options, table).await;
        declared.map(drop).map_err(|error| error.to_string())
    }

    /// Declares a plain queue and binds it to the test's exchange.
    pub async fn bind(&self, queue: &str, pattern: &str) {
        self.declare(queue, &[]).await.expect("declares");
        self.bind_existing(queue, pattern).await;
    }

    /// Binds a queue that is there to the test's exchange.
    pub async fn bind_existing(&self, queue: &str, pattern: &str) {
        let bound = self.channel.queue_bind(
            queue.into(),
            self.exchange.as_str().into(),
            pattern.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bound.await.expect("binds");
    }

    /// Publishes to the test's exchange, as anybody may.
    pub async fn publish(&self, routing_key: &str, body: &[u8], properties: BasicProperties) {
        self.send(&self.exchange, routing_key, body, properties).await;
    }

    /// Puts a message into a queue.
    pub async fn publish_to(&self, queue: &str, body: &[u8], properties: BasicProperties) {
        self.send("", queue, body, properties).await;
    }

    async fn send(&self, exchange: &str, routing_key: &str, body: &[u8], properties: BasicProperties) {
        let (exchange, options) = (exchange.into(), BasicPublishOptions::default());
        let published =
            self.channel.basic_publish(exchange, routing_key.into(), options, body, properties).await;
        published.expect("publishes");
    }

    /// How many messages are ready in a queue; none if there is no such queue.
    pub async fn ready(&self, queue: &str) -> Option<u32> {
        let channel = self.connection.create_channel().await.expect("a channel");
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let seen = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        seen.ok().map(|queue| queue.message_count())
    }

    /// Waits until a messenger has this queue, with all its bindings.
    pub async fn is_consumed(&self, queue: &str) {
        wait_until(&format!("a consumer of {queue}"), async || self.consumers(queue).await > Some(0)).await;
    }

    /// Waits until nobody consumes this queue.
    pub async fn is_not_consumed(&self, queue: &str) {
        wait_until(&format!("no consumer of {queue}"), async || self.consumers(queue).await == Some(0)).await;
    }

    /// How many consume a queue; none if there is no such queue.
    async fn consumers(&self, queue: &str) -> Option<u32> {
        let channel = self.connection.create_channel().await.expect("a channel");
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let seen = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        seen.ok().map(|queue| queue.consumer_count())
    }

    /// Waits until a queue has this many messages that nobody works on.
    pub async fn has(&self, queue: &str, count: u32) {
        wait_until(&format!("{count} messages in {queue}"), async || self.ready(queue).await == Some(count))
            .await;
    }

    /// Takes this many messages out of a queue.
    pub async fn take(&self, queue: &str, count: usize) -> Vec<Taken> {
        let channel = self.connection.create_channel().await.expect("a channel");
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
        let mut consumer = consumer.await.expect("consumes");
        let mut taken = Vec::new();
        while taken.len() < count {
            let next = tokio::time::timeout(Duration::from_secs(30), consumer.next()).await;
            let next = next.unwrap_or_else(|_| panic!("only {} of {count} came to {queue}", taken.len()));
            let Delivery { properties, data, .. } = next.expect("goes on").expect("a message");
            taken.push(Taken { properties, body: data });
        }
        taken
    }

    /// Looks at the first message of a queue this many times, as people do in the management page, and gives it back
    /// each time: rejected, or with the channel's end.
    pub async fn look_at(&self, queue: &str, times: usize) {
        for look in 0..times {
            let channel = self.connection.create_channel().await.expect("a channel");
            let mut seen = None;
            wait_until(&format!("a message in {queue} at look {look}"), async || {
                let got = channel.basic_get(queue.into(), BasicGetOptions::default()).await;
                seen = got.expect("goes on");
                seen.is_some()
            })
            .await;
            if look.is_multiple_of(2) {
                let options = lapin::options::BasicRejectOptions { requeue: true };
                seen.expect("just seen").acker.reject(options).await.expect("rejects");
            }
            channel.close(200, "seen".into()).await.expect("closes");
        }
    }

    /// Takes a message out of a queue as a process does that dies over it.
    pub async fn take_and_vanish(&self, queue: &str) {
        let connecting = Connection::connect(&self.url, ConnectionProperties::default());
        let connection = connecting.await.expect("RabbitMQ is there");
        let channel = connection.create_channel().await.expect("a channel");
        channel.basic_qos(1, BasicQosOptions::default()).await.expect("takes one");
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = channel.basic_consume(queue.into(), "".into(), options, arguments);
        let mut consumer = consumer.await.expect("consumes");
        let taken = tokio::time::timeout(Duration::from_secs(30), consumer.next()).await;
        taken.expect("a message is there").expect("goes on").expect("a message");
        connection.close(200, "vanishes".into()).await.expect("closes");
    }

    /// Deletes a queue, or does nothing.
    pub async fn delete(&self, queue: &str) {
        let _ = self.channel.queue_delete(queue.into(), lapin::options::QueueDeleteOptions::default()).await;
    }

    /// Deletes the test's exchange.
    pub async fn delete_exchange(&self) {
        let options = lapin::options::ExchangeDeleteOptions::default();
        self.channel.exchange_delete(self.exchange.as_str().into(), options).await.expect("deletes");
    }
}

/// Sends a message whose business action always takes effect.
pub async fn send(messenger: &Messenger, message: Message) {
    let handler = AnsweredBy::Handler("it.handled".into());
    let ended: Result<(), ShopError> =
        messenger.call(crate::call(handler, [message]), async { Ok(()) }).await;
    ended.expect("ok");
}
