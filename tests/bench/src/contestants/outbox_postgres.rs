//! The crate outbox-postgres 0.3, after its README.

use std::sync::Arc;

use async_trait::async_trait;
use outbox_core::{NoIdempotency, OutboxConfig, OutboxService};
use outbox_postgres::PostgresWriter;
use peer_sqlx::PgPool;

use super::Contestant;
use super::peer::{self, pay};
use crate::shop::Payment;
use crate::world::World;

pub(crate) struct Sender {
    pub(crate) pool: PgPool,
    pub(crate) config: Arc<OutboxConfig<Payment>>,
    service: OutboxService<PostgresWriter, NoIdempotency, Payment>,
}

impl Sender {
    pub(crate) async fn open(world: &World, name: &str) -> anyhow::Result<Self> {
        let pool = peer::pool(world, name, "outbox-postgres").await?;
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
