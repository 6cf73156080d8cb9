//! What people write without a framework, and what most half-message frameworks do.

use async_trait::async_trait;
use sqlx::Pool;
use uuid::Uuid;

use super::{Contestant, MANY};
use crate::shop::{Payment, Shop};
use crate::world::Place;

/// The business alone, as one statement; no message is ever sent.
pub(crate) struct Bare<DB: Shop>(pub(crate) Place<DB>);

#[async_trait]
impl<DB: Shop> Contestant for Bare<DB> {
    async fn call(&self, payment: Payment) -> anyhow::Result<()> {
        Ok(pay(&self.0.pool, &payment).await?)
    }
}

pub(crate) async fn pay<DB: Shop>(db: &Pool<DB>, payment: &Payment) -> Result<(), sqlx::Error> {
    let mut connection = db.acquire().await?;
    DB::insert(&mut connection, payment).await
}

/// The same in a transaction.
pub(crate) struct BareTransaction<DB: Shop>(pub(crate) Place<DB>);

#[async_trait]
impl<DB: Shop> Contestant for BareTransaction<DB> {
    async fn call(&self, payment: Payment) -> anyhow::Result<()> {
        let mut tx = self.0.pool.begin().await?;
        DB::insert(&mut tx, &payment).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// An outbox: one transaction, two inserts. Its poller is in `delivery`.
pub(crate) struct Outbox<DB: Shop>(pub(crate) Place<DB>);

#[async_trait]
impl<DB: Shop> Contestant for Outbox<DB> {
    async fn call(&self, payment: Payment) -> anyhow::Result<()> {
        let json = payment.json()?;
        let mut tx = self.0.pool.begin().await?;
        DB::insert(&mut tx, &payment).await?;
        DB::put_out(&mut tx, &payment, &json).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// An outbox with several messages in a transaction, as a loop over items puts them there: a statement each.
pub(crate) struct OutboxOfMany<DB: Shop>(pub(crate) Place<DB>);

#[async_trait]
impl<DB: Shop> Contestant for OutboxOfMany<DB> {
    async fn call(&self, payment: Payment) -> anyhow::Result<()> {
        let json = payment.json()?;
        let mut tx = self.0.pool.begin().await?;
        DB::insert(&mut tx, &payment).await?;
        for _ in 0..MANY {
            DB::put_out(&mut tx, &payment, &json).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Half message, business, confirm: a statement and a commit each, all awaited.
pub(crate) struct Unbatched<DB: Shop> {
    pub(crate) place: Place<DB>,
    /// Without business.
    pub(crate) empty: bool,
}

#[async_trait]
impl<DB: Shop> Contestant for Unbatched<DB> {
    async fn call(&self, payment: Payment) -> anyhow::Result<()> {
        let id = Uuid::now_v7();
        let json = payment.json()?;
        let db = &self.place.pool;
        DB::insert_half(&mut *db.acquire().await?, id, &json).await?;
        if !self.empty {
            pay(db, &payment).await?;
        }
        DB::confirm_half(&mut *db.acquire().await?, id).await?;
        Ok(())
    }
}
