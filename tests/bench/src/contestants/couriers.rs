//! Those who deliver, too: the senders, each with what brings its messages to RabbitMQ.

use std::sync::Arc;
use std::time::Duration;

use ::outbox_postgres::PostgresOutbox;
use anyhow::Context;
use async_trait::async_trait;
use lapin::Channel;
use outbox_core::{Event, OutboxError, OutboxManagerBuilder, Transport};
use sqlx::{PgPool, Postgres};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use transactional_message::{ExchangeKind, RabbitMq};
use uuid::Uuid;

use super::{Contestant, by_hand, ours, outbox_postgres, sqlxmq};
use crate::broker::{self, Broker};
use crate::shop::{Payment, Shop};
use crate::world::{Open, Place, World};

/// Somebody whose messages get to the broker.
#[async_trait]
pub(crate) trait Courier: Contestant {
    /// Messages that are not acked by the broker, or not marked yet.
    async fn waiting(&self) -> anyhow::Result<i64>;
}

/// An outbox with a poller that takes rows nobody else takes, and publishes them without waiting for one
/// confirm before the next message.
pub(crate) struct Polled {
    outbox: by_hand::Outbox<Postgres>,
    _poller: AbortOnDropHandle<()>,
}

/// Rows in one transaction of the poller.
const BATCH: i64 = 256;
/// The poller's pause when there was nothing.
const PAUSE: Duration = Duration::from_millis(50);

impl Polled {
    pub(crate) async fn open(world: &World, name: &str, broker: &Broker) -> anyhow::Result<Self> {
        let place = Postgres::open(world, name).await?;
        let pool = PgPool::connect(&place.url).await?;
        let channel = broker.confirming().await?;
        let poller = tokio::spawn(async move {
            loop {
                match poll(&pool, &channel).await {
                    Ok(0) => tokio::time::sleep(PAUSE).await,
                    Ok(_) => {}
                    Err(error) => tracing::error!("the poller failed: {error:#}"),
                }
            }
        });
        Ok(Self { outbox: by_hand::Outbox(place), _poller: AbortOnDropHandle::new(poller) })
    }
}

/// Publishes what is there, and says how much that was.
async fn poll(pool: &PgPool, channel: &Channel) -> anyhow::Result<usize> {
    let mut tx = pool.begin().await?;
    let rows: Vec<(i64, Uuid, Vec<u8>)> = sqlx::query_as(
        "SELECT id, message_id, payload FROM outbox WHERE sent_at IS NULL ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED",
    )
    .bind(BATCH)
    .fetch_all(&mut *tx)
    .await?;
    let mut confirms = Vec::with_capacity(rows.len());
    for (_, message_id, payload) in &rows {
        confirms.push(broker::publish(channel, *message_id, payload).await?);
    }
    for confirm in confirms {
        broker::confirmed(confirm).await?;
    }
    let ids: Vec<_> = rows.iter().map(|(id, ..)| *id).collect();
    sqlx::query("UPDATE outbox SET sent_at = now() WHERE id = ANY($1)").bind(&ids).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(ids.len())
}

#[async_trait]
impl Contestant for Polled {
    async fn call(&self, payment: Payment) -> anyhow::Result<()> {
        self.outbox.call(payment).await
    }
}

#[async_trait]
impl Courier for Polled {
    async fn waiting(&self) -> anyhow::Result<i64> {
        let sql = "SELECT count(*) FROM outbox WHERE sent_at IS NULL";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.outbox.0.pool).await?)
    }
}

/// `outbox-postgres` with a transport of the kind that its README shows.
pub(crate) struct OutboxPostgres {
    sender: outbox_postgres::Sender,
    _stop: watch::Sender<bool>,
    _manager: AbortOnDropHandle<()>,
}

struct Lapin(Channel);

#[async_trait]
impl Transport<Payment> for Lapin {
    async fn publish(&self, event: Event<Payment>) -> Result<(), OutboxError> {
        let failed = |error: anyhow::Error| OutboxError::InfrastructureError(format!("{error:#}"));
        let body = event.payload.as_value().json().map_err(failed)?;
        let confirm = broker::publish(&self.0, event.id.as_uuid(), &body).await.map_err(failed)?;
        broker::confirmed(confirm).await.map_err(failed)
    }
}

impl OutboxPostgres {
    pub(crate) async fn open(world: &World, name: &str, broker: &Broker) -> anyhow::Result<Self> {
        let sender = outbox_postgres::Sender::open(world, name).await?;
        let (stop, stopped) = watch::channel(false);
        let manager = OutboxManagerBuilder::new()
            .storage(Arc::new(PostgresOutbox::new(sender.pool.clone(), Arc::clone(&sender.config))))
            .publisher(Arc::new(Lapin(broker.confirming().await?)))
            .config(Arc::clone(&sender.config))
            .shutdown_rx(stopped)
            .build()
            .context("building the manager of outbox-postgres")?;
        let manager = tokio::spawn(async move {
            if let Err(error) = manager.run().await {
                tracing::error!("outbox-postgres ended: {error}");
            }
        });
        Ok(Self { sender, _stop: stop, _manager: AbortOnDropHandle::new(manager) })
    }
}

#[async_trait]
impl Contestant for OutboxPostgres {
    async fn call(&self, payment: Payment) -> anyhow::Result<()> {
        self.sender.call(payment).await
    }
}

#[async_trait]
impl Courier for OutboxPostgres {
    async fn waiting(&self) -> anyhow::Result<i64> {
        let sql = "SELECT count(*) FROM outbox_events WHERE status <> 'Sent'";
        Ok(peer_sqlx::query_scalar(sql).fetch_one(&self.sender.pool).await?)
    }
}

/// `sqlxmq` with its runner.
pub(crate) struct Sqlxmq {
    sender: sqlxmq::Sender,
    _runner: ::sqlxmq::JobRunnerHandle,
}

impl Sqlxmq {
    pub(crate) async fn open(world: &World, name: &str, broker: &Broker) -> anyhow::Result<Self> {
        let sender = sqlxmq::Sender::open(world, name).await?;
        let runner = sqlxmq::run(&sender.pool, broker.confirming().await?).await?;
        Ok(Self { sender, _runner: runner })
    }
}

#[async_trait]
impl Contestant for Sqlxmq {
    async fn call(&self, payment: Payment) -> anyhow::Result<()> {
        self.sender.call(payment).await
    }
}

#[async_trait]
impl Courier for Sqlxmq {
    async fn waiting(&self) -> anyhow::Result<i64> {
        // One row is sqlxmq's own.
        let sql = "SELECT count(*) - 1 FROM mq_msgs";
        Ok(peer_sqlx::query_scalar(sql).fetch_one(&self.sender.pool).await?)
    }
}

/// Ours with everything on.
pub(crate) async fn ours(place: Place<Postgres>, amqp_url: &str) -> anyhow::Result<ours::Ours<Postgres>> {
    let rabbitmq = RabbitMq::new(amqp_url).exchange(crate::EXCHANGE, ExchangeKind::Topic);
    ours::Ours::open(place, |builder| builder.rabbitmq(rabbitmq)).await
}

/// Those of our messages that aren't delivered.
async fn unfinished<DB: Shop>(ours: &ours::Ours<DB>) -> anyhow::Result<i64> {
    Ok(DB::count_unfinished(&ours.place.pool).await?)
}

#[async_trait]
impl<DB: Shop> Courier for ours::Handler<DB> {
    async fn waiting(&self) -> anyhow::Result<i64> {
        unfinished(&self.0).await
    }
}

#[async_trait]
impl<DB: Shop> Courier for ours::Fence<DB> {
    async fn waiting(&self) -> anyhow::Result<i64> {
        unfinished(&self.0).await
    }
}
