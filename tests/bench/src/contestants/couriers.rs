//! Those who deliver, too: the senders, each with what brings its messages to RabbitMQ.

use std::sync::Arc;
use std::time::{Duration, Instant};

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

use super::raw::Raw;
use super::{Contestant, by_hand, ours, outbox_postgres, ruststream, sqlxmq};
use crate::broker::{self, Broker};
use crate::options::Options;
use crate::shop::{Payment, Shop};
use crate::world::{Open, World};

/// Somebody whose messages get to the broker.
#[async_trait]
pub(crate) trait Courier: Contestant {
    /// Messages that are not acked by the broker, or not marked yet.
    async fn waiting(&self) -> anyhow::Result<i64>;

    /// Drops what is waiting, so that it does not disturb whoever is measured next.
    async fn forget(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// All of them.
pub(crate) const ALL: &[&str] = &[
    "raw",
    "outbox",
    "outbox-postgres",
    "sqlxmq",
    "handler",
    "fence",
    "ruststream-relay",
    "ruststream-documented",
];

/// Those of `names` that were not filtered out, on PostgreSQL, each with its own delivery.
pub(crate) async fn open(
    names: &[&'static str],
    world: &World,
    options: &Options,
    broker: &Broker,
    amqp_url: &str,
) -> anyhow::Result<Vec<(&'static str, Arc<dyn Courier>)>> {
    let mut couriers: Vec<(&'static str, Arc<dyn Courier>)> = Vec::new();
    for name in names.iter().copied() {
        if !options.wants(name) {
            continue;
        }
        let database = name.replace('-', "_");
        let courier: Arc<dyn Courier> = match name {
            "raw" => Arc::new(Raw::open(broker).await?),
            "outbox" => Arc::new(Polled::open(world, &database, broker).await?),
            "outbox-postgres" => Arc::new(OutboxPostgres::open(world, &database, broker).await?),
            "sqlxmq" => Arc::new(Sqlxmq::open(world, &database, broker).await?),
            "ruststream-relay" => {
                Arc::new(ruststream::Relay::open(world, &database, amqp_url, ruststream::batched).await?)
            }
            "ruststream-documented" => {
                Arc::new(ruststream::Relay::open(world, &database, amqp_url, ruststream::documented).await?)
            }
            "handler" => Arc::new(ours::Handler(ours(world, &database, amqp_url).await?)),
            _ => Arc::new(ours::Fence(ours(world, &database, amqp_url).await?)),
        };
        couriers.push((name, courier));
    }
    Ok(couriers)
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

    async fn forget(&self) -> anyhow::Result<()> {
        sqlx::query("DELETE FROM outbox WHERE sent_at IS NULL").execute(&self.outbox.0.pool).await?;
        Ok(())
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

    async fn forget(&self) -> anyhow::Result<()> {
        peer_sqlx::query("DELETE FROM outbox_events WHERE status <> 'Sent'")
            .execute(&self.sender.pool)
            .await?;
        Ok(())
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

    async fn forget(&self) -> anyhow::Result<()> {
        Ok(::sqlxmq::clear_all(&self.sender.pool).await?)
    }
}

/// Ours with everything on.
async fn ours(world: &World, name: &str, amqp_url: &str) -> anyhow::Result<ours::Ours<Postgres>> {
    let place = Postgres::open(world, name).await?;
    let rabbitmq = RabbitMq::new(amqp_url).exchange(crate::EXCHANGE, ExchangeKind::Topic);
    ours::Ours::open(place, |builder| builder.rabbitmq(rabbitmq)).await
}

/// Waits: what our process holds can't be taken from it.
const FORGOTTEN: Duration = Duration::from_mins(2);

async fn forget<DB: Shop>(ours: &ours::Ours<DB>) -> anyhow::Result<()> {
    let began = Instant::now();
    while DB::count_unfinished(&ours.place.pool).await? > 0 {
        anyhow::ensure!(
            began.elapsed() < FORGOTTEN,
            "messages are not delivered: {:?}",
            ours.messenger.stats().await
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[async_trait]
impl<DB: Shop> Courier for ours::Handler<DB> {
    async fn waiting(&self) -> anyhow::Result<i64> {
        Ok(DB::count_unfinished(&self.0.place.pool).await?)
    }

    async fn forget(&self) -> anyhow::Result<()> {
        forget(&self.0).await
    }
}

#[async_trait]
impl<DB: Shop> Courier for ours::Fence<DB> {
    async fn waiting(&self) -> anyhow::Result<i64> {
        Ok(DB::count_unfinished(&self.0.place.pool).await?)
    }

    async fn forget(&self) -> anyhow::Result<()> {
        forget(&self.0).await
    }
}
