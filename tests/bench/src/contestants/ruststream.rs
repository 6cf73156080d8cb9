//! `RustStream` 0.7, as its guide relays messages: a row of an inbox table in the business's transaction, and
//! a subscription that publishes what is in the table. What `RustStream` calls an outbox is not this: its
//! record and the business are committed apart.
//!
//! RabbitMQ returns nothing to it that no queue takes, since it never asks for that (`mandatory`); ours does.

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use ruststream::runtime::{
    BatchPublishTransform, Bindable, HealthProbe, Outgoing, PublishContext, SubscriptionEnd,
};
use ruststream::{FixedName, MessageHeaders, NoHeaders, OutgoingDestination, nonzero};
use ruststream_lapin::{ConfirmsPublish, LapinBroker, LapinPublish};
use ruststream_sqlx::prelude::{
    AppInfo, Broker, Inbox, InboxQueue, Insert, Message, RunningApp, RustStream, SqlxBroker,
    SubscriberSettings, subscriber,
};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Postgres};
use tokio::sync::Mutex;
use tokio::time::timeout;
use uuid::Uuid;

use super::Contestant;
use super::couriers::Courier;
use crate::shop::{Payment, Shop};
use crate::world::{Open, Place, World};

/// Rows that one transaction takes, as the poller of `outbox` does.
const BATCH: NonZeroUsize = nonzero!(256);
/// The pause when there were less, as that poller's.
const PAUSE: Duration = Duration::from_millis(50);
/// Subscriptions to the table, of which each has one batch under way. Tried in `pipeline`, in eight short
/// rounds each on a busy machine: of the rate of the `outbox` beside it, 1 came to 0.79 to 1.28 (median
/// 0.89), 2 to 0.80 to 1.02 (0.92), 4 to 0.84 to 1.10 (0.97).
const MOUNTS: usize = 4;
/// Of the subscriptions, beside the callers' own: a batch under way holds one.
const CONNECTIONS: u32 = 4;
/// Single messages under way: each holds a connection, and `RustStream` leaves one free.
const WORKERS: NonZeroUsize = nonzero!(3);
/// How long a farewell may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A row that waits for the relay. Without a column for a lease, its transaction holds it.
#[derive(Inbox, sqlx::FromRow)]
#[inbox(table = "relay")]
struct Row {
    #[field(id, generated)]
    id: i64,
    #[field(payload)]
    payload: Vec<u8>,
}

const TABLE: &str =
    "CREATE TABLE relay (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload bytea NOT NULL)";

pub(crate) struct Sender(Place<Postgres>);

impl Sender {
    pub(crate) async fn open(world: &World, name: &str) -> anyhow::Result<Self> {
        let place = Postgres::open(world, name).await?;
        sqlx::raw_sql(TABLE).execute(&place.pool).await?;
        Ok(Self(place))
    }
}

#[async_trait]
impl Contestant for Sender {
    async fn call(&self, payment: Payment) -> anyhow::Result<()> {
        let row = Row { id: 0, payload: payment.json()? };
        let mut tx = self.0.pool.begin().await?;
        Postgres::insert(&mut tx, &payment).await?;
        row.insert(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }
}

// What `#[derive(Outgoing)]` would write, but that it takes no constant.
impl OutgoingDestination for Payment {
    type Form = FixedName;
    const DESTINATION: &'static str = crate::ROUTING_KEY;
}

impl MessageHeaders for Payment {
    type Contract = NoHeaders;
}

/// What goes into the message's properties; `RustStream` puts nothing there by itself.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Properties {
    message_id: String,
    content_type: &'static str,
}

impl Properties {
    fn of(payment_id: Uuid) -> Self {
        Self { message_id: payment_id.to_string(), content_type: "application/json" }
    }
}

/// Properties for replies to a batch, which carry none of their own.
struct Stamp;

impl<C, O> BatchPublishTransform<C, O> for Stamp {
    fn apply(&self, out: &mut Outgoing<'_>, _: &mut Option<O>, _: &PublishContext<'_, C>) {
        #[derive(Deserialize)]
        struct Identified {
            payment_id: Uuid,
        }
        let stamped = serde_json::from_slice(out.payload()).context("reading the payment's id").and_then(
            |Identified { payment_id }| Ok(out.headers_mut().insert_typed(&Properties::of(payment_id))?),
        );
        if let Err(error) = stamped {
            tracing::error!("a message has no properties: {error:#}");
        }
    }
}

/// Decodes and encodes, since replies to a batch can't be bytes. A row that can't be decoded would be
/// deleted, but for `fail_fast`.
#[subscriber(InboxQueue::<Row>::new("relay"), reply, on_failure(decode = fail_fast))]
async fn relay(payments: &[Payment]) -> Vec<Payment> {
    payments.to_vec()
}

/// The same with single messages, as the guide has it.
#[subscriber(InboxQueue::<Row>::new("relay"), reply, on_failure(decode = fail_fast))]
async fn relay_one(payment: &Payment) -> Message<Properties, Payment> {
    Message::new(Properties::of(payment.payment_id), payment.clone())
}

/// To the exchange that is there already. Without confirms, rows would be deleted before RabbitMQ has their
/// messages.
fn confirmed() -> ConfirmsPublish {
    LapinPublish::default().exchange(crate::EXCHANGE).confirms()
}

/// Fails when a subscription ends by itself.
fn app(rabbitmq: Bindable<LapinBroker>) -> RustStream {
    RustStream::new(AppInfo::new("bench", "0.1.0"))
        .on_subscription_end(SubscriptionEnd::FailFast)
        .with_broker(rabbitmq, |_| {})
}

/// In batches: messages of one are published together, their confirms awaited, and then their rows deleted.
pub(crate) fn batched(pool: &PgPool, amqp_url: &str) -> RustStream {
    let rabbitmq = LapinBroker::new(amqp_url).bindable();
    // A publisher has one transaction at a time, so there is one for each subscription.
    let exits: Vec<_> = (0..MOUNTS).map(|_| rabbitmq.bind(confirmed())).collect();
    let mut app = app(rabbitmq);
    for exit in exits {
        // A broker takes one subscription to a table.
        let rows = SqlxBroker::new(pool.clone()).poll_interval(PAUSE);
        app = app.with_broker(rows, |rows| {
            rows.include(relay.batch(BATCH)).out_reply(exit).batch_transform(Stamp).transactional();
        });
    }
    app
}

/// One message at a time for each worker, as a reader of the guide writes it. The workers share a publisher,
/// and with it a channel.
pub(crate) fn documented(pool: &PgPool, amqp_url: &str) -> RustStream {
    let rabbitmq = LapinBroker::new(amqp_url).bindable();
    let exit = rabbitmq.bind(confirmed());
    let rows = SqlxBroker::new(pool.clone()).poll_interval(PAUSE);
    app(rabbitmq).with_broker(rows, |rows| {
        rows.include(relay_one.workers(WORKERS)).out_reply(exit);
    })
}

/// The sender with the relay.
pub(crate) struct Relay {
    sender: Sender,
    health: HealthProbe,
    app: Mutex<Option<RunningApp>>,
}

impl Relay {
    pub(crate) async fn open(
        world: &World,
        name: &str,
        amqp_url: &str,
        app: fn(&PgPool, &str) -> RustStream,
    ) -> anyhow::Result<Self> {
        let sender = Sender::open(world, name).await?;
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(&sender.0.url).await?;
        let app = app(&pool, amqp_url).start().await.context("starting RustStream")?;
        Ok(Self { sender, health: app.health(), app: Mutex::new(Some(app)) })
    }
}

#[async_trait]
impl Contestant for Relay {
    async fn call(&self, payment: Payment) -> anyhow::Result<()> {
        self.sender.call(payment).await
    }

    async fn close(&self) {
        let Some(app) = self.app.lock().await.take() else { return };
        // Its subscriptions end first, and then its connections. Now and then lapin's `close` does not
        // return, though its I/O loop has ended; RustStream waits for it without a limit.
        match timeout(CLOSE_TIMEOUT, app.shutdown()).await {
            Ok(Err(error)) => tracing::error!("RustStream did not end well: {error}"),
            Err(_) if self.health.subscriptions().active > 0 => tracing::error!("RustStream does not end"),
            Ok(Ok(())) | Err(_) => {}
        }
    }
}

#[async_trait]
impl Courier for Relay {
    async fn waiting(&self) -> anyhow::Result<i64> {
        anyhow::ensure!(self.health.is_running(), "RustStream has ended: {:?}", self.health.state());
        Ok(sqlx::query_scalar("SELECT count(*) FROM relay").fetch_one(&self.sender.0.pool).await?)
    }

    async fn forget(&self) -> anyhow::Result<()> {
        sqlx::query("DELETE FROM relay").execute(&self.sender.0.pool).await?;
        Ok(())
    }
}

/// Does not compile if cargo unifies the crates' feature `testing` into this build, which changes what they
/// do: there are two of that name then. Only names that come by wildcards can clash.
#[allow(clippy::wildcard_imports, unused_imports)]
mod production {
    mod nothing {
        pub(super) struct TestApp;
    }
    use nothing::*;
    use ruststream::testing::*;

    const _: TestApp = TestApp;
}
