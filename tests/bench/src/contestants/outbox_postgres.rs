//! The crate outbox-postgres 0.3, after its README.

use std::sync::Arc;

use async_trait::async_trait;
use outbox_core::{NoIdempotency, OutboxConfig, OutboxService};
use outbox_postgres::PostgresWriter;
use peer_sqlx::PgPool;
use peer_sqlx::postgres::PgPoolOptions;
use sqlx::Postgres;

use super::Contestant;
use crate::shop::Payment;
use crate::world::{CONNECTIONS, Open, World};

const TABLES: &str = include_str!("../../migrations/outbox-postgres.sql");

pub(crate) struct Sender {
    pub(crate) pool: PgPool,
    pub(crate) config: Arc<OutboxConfig<Payment>>,
    service: OutboxService<PostgresWriter, NoIdempotency, Payment>,
}

impl Sender {
    pub(crate) async fn open(world: &World, name: &str) -> anyhow::Result<Self> {
        let pool = peer_pool(world, name, TABLES).await?;
        let config = Arc::new(OutboxConfig::default());
        let service = OutboxService::new(Arc::new(PostgresWriter), Arc::clone(&config));
        Ok(Self { pool, config, service })
    }
}

#[async_trait]
impl Contestant for Sender {
    async fn call(&self, payment: Payment) -> anyhow::Result<()> {
        let mut tx = self.pool.begin().await?;
        pay(&mut tx, &payment).await?;
        self.service.add_event(crate::ROUTING_KEY, payment, None, &mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// A database with the business's tables and those of a peer, and a pool of the peer's sqlx.
pub(super) async fn peer_pool(world: &World, name: &str, tables: &'static str) -> anyhow::Result<PgPool> {
    let place = Postgres::open(world, name).await?;
    sqlx::raw_sql(tables).execute(&place.pool).await?;
    place.pool.close().await;
    Ok(PgPoolOptions::new().max_connections(CONNECTIONS).connect(&place.url).await?)
}

/// The business's statement, with the peers' sqlx.
pub(super) async fn pay(on: &mut peer_sqlx::PgConnection, payment: &Payment) -> Result<(), peer_sqlx::Error> {
    let sql = "INSERT INTO payment (payment_id, account, amount_cents) VALUES ($1, $2, $3)";
    let query = peer_sqlx::query(sql).bind(payment.payment_id).bind(&payment.account);
    query.bind(payment.amount_cents).execute(on).await?;
    Ok(())
}
