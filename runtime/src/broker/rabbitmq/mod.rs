//! Delivery through RabbitMQ: what the application says about it, and the transport.

mod batch;
mod broker;
mod channel_publisher;
mod cloud_events;
mod connection;
mod dead_letter;
mod dead_letter_hand;
mod dead_letters;
mod delivery_limit;
mod establish;
mod incoming;
mod inspect;
mod news;
mod properties;
#[cfg(test)]
mod proptests;
mod publish_connection;
mod publish_queue;
mod publisher;
mod refusal;
mod remedy;
mod reroute;
mod rights;
mod stragglers;
mod subscription;
mod taking;
mod topology;

use std::fmt::{self, Display};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use self::broker::Broker;
pub(crate) use self::dead_letter::Letter;
pub(crate) use self::dead_letter_hand::DeadLetterHand;
pub(crate) use self::inspect::{Noticed, Wanted};
use self::publisher::Publisher;
use self::subscription::Subscription;
pub use self::topology::ExchangeKind;
pub(crate) use self::topology::Queues;
use self::topology::Topology;
use crate::error::{Error, ErrorKind};
use crate::message::Message;
use crate::telemetry::labels::NotDelivered;
use crate::transport::{Delivery, Outgoing, PublishResult, Queue, Transport};

/// How messages are delivered through RabbitMQ. See [`MessengerBuilder::rabbitmq`](crate::MessengerBuilder::rabbitmq).
///
/// Messages are persistent and `mandatory`; one counts as delivered when the broker has confirmed it
/// and did not return it. A consumer's queue is a quorum queue, with others for what waits for its
/// next attempt (`<queue>.retry.<delay>`) and for what nobody can handle (`<queue>.dead`).
///
/// A message arrives with these properties: `message_id`, `timestamp`, `content_type`, `type`,
/// `app_id`, `correlation_id` (the business key), and its headers; of several headers with one
/// name, the last. Headers whose name begins with `x-tm-` are this crate's own: those of a message
/// are left out.
///
/// Connections come and go by themselves; an application starts, and takes calls, without a broker.
///
/// What the client library `lapin` says on its own thread is not logged, since that has bodies of
/// returned messages in it. This works for `tracing` subscribers that are installed before the
/// messenger is started. An application that has none, and gets the records of `tracing` by way of
/// the crate `log`, must turn off the target `lapin::returned_messages`. Turning off all of `lapin`
/// loses nothing: how connections come and go is logged here, too.
///
/// ```no_run
/// # async fn f() -> Result<(), transactional_message::Error> {
/// use transactional_message::{ExchangeKind, Messenger, RabbitMq};
///
/// let rabbitmq = RabbitMq::new("amqp://shop:secret@rabbit.example:5672/shop")
///     .exchange("payments", ExchangeKind::Topic)
///     .app_id("shop");
/// let messenger = Messenger::builder("sqlite://shop.db").rabbitmq(rabbitmq).build().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RabbitMq {
    url: String,
    exchanges: Vec<(String, ExchangeKind)>,
    passive: bool,
    ca_certificate: Option<String>,
    app_id: Option<String>,
    cloud_events: Option<String>,
    connection_name: Option<String>,
}

// The URL has a password in it.
impl fmt::Debug for RabbitMq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitMq")
            .field("exchanges", &self.exchanges)
            .field("passive", &self.passive)
            .field("app_id", &self.app_id)
            .finish_non_exhaustive()
    }
}

impl RabbitMq {
    /// A broker by its URL: `amqp://user:password@host:5672/vhost`, or `amqps://…` with the feature
    /// `tls`. Special characters in user, password and vhost are percent-encoded. Checked when the
    /// messenger is built.
    ///
    /// Of a cluster, the URL names several nodes: `amqp://user:password@rabbit-1,rabbit-2:5673,rabbit-3/vhost`. Each
    /// connection goes to one of them, chosen at random; when that node does not answer within a second, another is tried
    /// beside it.
    pub fn new(url: impl Display) -> Self {
        Self {
            url: url.to_string(),
            exchanges: Vec::new(),
            passive: false,
            ca_certificate: None,
            app_id: None,
            cloud_events: None,
            connection_name: None,
        }
    }

    /// Declares a durable exchange, at every connection. With [`passive`](Self::passive), only
    /// checks that it is there.
    #[must_use]
    pub fn exchange(mut self, name: impl Display, kind: ExchangeKind) -> Self {
        self.exchanges.push((name.to_string(), kind));
        self
    }

    /// Declares and binds nothing, for a user without the right to configure: exchanges and queues
    /// are only checked to be there, and a log says what each must look like if it is not.
    #[must_use]
    pub const fn passive(mut self) -> Self {
        self.passive = true;
        self
    }

    /// Trusts this certificate authority (PEM), too: for brokers with certificates of a private one.
    #[must_use]
    pub fn ca_certificate(mut self, pem: impl Display) -> Self {
        self.ca_certificate = Some(pem.to_string());
        self
    }

    /// Names the application in every message (AMQP `app_id`).
    #[must_use]
    pub fn app_id(mut self, app_id: impl Display) -> Self {
        self.app_id = Some(app_id.to_string());
        self
    }

    /// Makes every message a [CloudEvent](https://cloudevents.io) 1.0 from `source`, such as `/shop/payments`, in the binary mode
    /// of AMQP: its body stays as it is, and headers `cloudEvents:id`, `cloudEvents:source`, `cloudEvents:type` (the message's
    /// type, or else its routing key), `cloudEvents:subject` (the business key) and `cloudEvents:time` are added.
    #[must_use]
    pub fn cloud_events(mut self, source: impl Display) -> Self {
        self.cloud_events = Some(source.to_string());
        self
    }

    /// Names the connections in RabbitMQ's lists. Default: the `app_id`, or `transactional-message`.
    #[must_use]
    pub fn connection_name(mut self, name: impl Display) -> Self {
        self.connection_name = Some(name.to_string());
        self
    }

    /// Where it is.
    fn broker(&self) -> Result<Broker, Error> {
        let name = self.connection_name.clone().or_else(|| self.app_id.clone());
        let name = name.unwrap_or_else(|| "transactional-message".into());
        Broker::new(&self.url, self.ca_certificate.clone(), name)
    }

    /// A hand on the dead letters there.
    pub(crate) async fn dead_letters(&self) -> Result<DeadLetterHand, Error> {
        DeadLetterHand::connect(self.broker()?).await
    }

    /// What is wrong with queues and exchanges that somebody needs.
    pub(crate) async fn inspect(&self, wanted: &Wanted) -> Result<Vec<Noticed>, Error> {
        Ok(inspect::inspect(&self.broker()?, wanted).await)
    }

    /// Checks everything that can be checked without the broker.
    pub(crate) fn open(self, patience: Duration) -> Result<RabbitMqTransport, Error> {
        let broker = self.broker()?;
        let topology = Topology::new(self.exchanges, self.passive, broker.vhost())?;
        let publisher = Publisher::new(broker.clone(), topology.clone(), patience);
        let app_id = self.app_id.map(|app_id| broker::short("app_id", &app_id)).transpose()?;
        let source = self.cloud_events.map(|source| event_source(&source)).transpose()?;
        let sender = properties::Sender { app_id, cloud_events: source };
        let (subscriptions, added) = (Mutex::default(), Notify::new());
        Ok(RabbitMqTransport { broker, topology, sender, publisher, subscriptions, added })
    }
}

fn event_source(source: &str) -> Result<String, Error> {
    if source.is_empty() {
        let why =
            "the source of `cloud_events` is empty: say where the events come from, such as `/shop/payments`";
        return Err(Error::new(ErrorKind::Configuration, why));
    }
    Ok(broker::short("source of `cloud_events`", source)?.to_string())
}

impl From<&str> for RabbitMq {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<String> for RabbitMq {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

/// One connection for everything that is published, and one for each subscription.
#[derive(Debug)]
pub(crate) struct RabbitMqTransport {
    broker: Broker,
    topology: Topology,
    sender: properties::Sender,
    publisher: Publisher,
    subscriptions: Mutex<Vec<Subscription>>,
    /// There is one more.
    added: Notify,
}

impl RabbitMqTransport {
    fn subscriptions(&self) -> MutexGuard<'_, Vec<Subscription>> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the subscriptions, also those that are added meanwhile, until `stop`, and lets them finish.
    async fn consume(&self, stop: &CancellationToken) {
        let mut running = FuturesUnordered::new();
        let mut begun = 0;
        while !stop.is_cancelled() {
            let added = self.subscriptions()[begun..].to_vec();
            begun += added.len();
            running.extend(added.into_iter().map(async |one| one.run(&self.publisher, stop).await));
            tokio::select! {
                Some(()) = running.next() => {}
                () = self.added.notified() => {}
                () = stop.cancelled() => {}
            }
        }
        while running.next().await.is_some() {}
    }
}

#[async_trait]
impl Transport for RabbitMqTransport {
    fn kind(&self) -> &'static str {
        "rabbitmq"
    }

    fn exchanges(&self) -> Vec<String> {
        self.topology.exchanges.iter().map(|(name, _)| name.to_string()).collect()
    }

    async fn publish(&self, outgoing: &Outgoing) -> PublishResult {
        match properties::amqp_message(outgoing, &self.sender) {
            Ok(amqp_message) => self.publisher.publish(amqp_message).await,
            Err(why) => PublishResult::Refused(NotDelivered::Refused, why),
        }
    }

    fn refuses(&self, message: &Message) -> Option<String> {
        properties::refusal(message, &self.sender, self.publisher.frame_bytes())
    }

    fn capacity(&self) -> usize {
        self.publisher.capacity()
    }

    fn subscribe(&self, queue: Queue) -> Result<mpsc::Receiver<Delivery>, Error> {
        let (subscription, deliveries) =
            Subscription::new(self.broker.clone(), self.topology.clone(), &queue)?;
        self.subscriptions().push(subscription);
        self.added.notify_one();
        Ok(deliveries)
    }

    async fn run(&self, stop: &CancellationToken) {
        let stop_publishing = CancellationToken::new();
        let consuming = async {
            self.consume(stop).await;
            // What is being handled at the end may have to be put into another queue.
            stop_publishing.cancel();
        };
        let own = || self.subscriptions().iter().map(Subscription::queues).collect();
        tokio::join!(consuming, self.publisher.run(own, &stop_publishing));
    }
}
