//! Us: with a handler, and with a fence.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use sqlx::Pool;
use transactional_message::{
    Data, HalfMessage, Message, Messenger, MessengerBuilder, Outcome, Settings, begin, transactional_message,
};
use uuid::Uuid;

use super::by_hand;
use super::{Contestant, MANY};
use crate::shop::{Payment, Shop};
use crate::world::Place;

/// A call whose outcome a function knows.
#[transactional_message(
    name = "bench.pay",
    exchange = crate::EXCHANGE,
    routing_key = crate::ROUTING_KEY,
    check_back = handled_outcome,
    messenger = messenger,
    message = payment
)]
async fn handled<DB: Shop>(messenger: &Messenger, db: &Pool<DB>, payment: Payment) -> anyhow::Result<()> {
    by_hand::pay(db, &payment).await?;
    Ok(())
}

async fn handled_outcome(half: HalfMessage<Payment>, payments: Data<Payments>) -> anyhow::Result<Outcome> {
    let made = payments.0.0.has(half.payload.payment_id).await?;
    Ok(if made { Outcome::Confirm } else { Outcome::Cancel })
}

/// A call that does nothing.
#[transactional_message(
    name = "bench.empty",
    exchange = crate::EXCHANGE,
    routing_key = crate::ROUTING_KEY,
    check_back = handled_outcome,
    messenger = messenger,
    message = payment
)]
async fn empty(messenger: &Messenger, payment: Payment) -> anyhow::Result<()> {
    Ok(())
}

/// A call whose outcome the database knows.
#[transactional_message(
    exchange = crate::EXCHANGE,
    routing_key = crate::ROUTING_KEY,
    fence,
    messenger = messenger,
    message = payment
)]
async fn fenced<DB: Shop>(messenger: &Messenger, db: &Pool<DB>, payment: Payment) -> anyhow::Result<()> {
    let mut tx = begin(db).await?;
    DB::insert(&mut tx, &payment).await?;
    tx.commit().await?;
    Ok(())
}

/// A call whose body decides on several messages.
#[transactional_message(fence, messenger = messenger)]
async fn decides<DB: Shop>(messenger: &Messenger, db: &Pool<DB>, payment: Payment) -> anyhow::Result<()> {
    let mut tx = begin(db).await?;
    DB::insert(&mut tx, &payment).await?;
    for _ in 0..MANY {
        tx.send(Message::json(crate::EXCHANGE, crate::ROUTING_KEY, &payment)?)?;
    }
    tx.commit().await?;
    Ok(())
}

/// Messages of an import.
pub(crate) const LINES: usize = 1000;

/// An import: many messages in one transaction.
#[transactional_message(fence, messenger = messenger)]
async fn imports<DB: Shop>(messenger: &Messenger, db: &Pool<DB>, payment: Payment) -> anyhow::Result<()> {
    let mut tx = begin(db).await?;
    DB::insert(&mut tx, &payment).await?;
    let line = || Message::json(crate::EXCHANGE, crate::ROUTING_KEY, &payment);
    tx.send_all(std::iter::repeat_with(line).take(LINES).collect::<Result<Vec<_>, _>>()?)?;
    tx.commit().await?;
    Ok(())
}

/// Where the handler looks.
#[derive(Clone)]
struct Payments(Arc<dyn Lookup>);

#[async_trait]
trait Lookup: Send + Sync {
    async fn has(&self, payment_id: Uuid) -> anyhow::Result<bool>;
}

#[async_trait]
impl<DB: Shop> Lookup for Pool<DB> {
    async fn has(&self, payment_id: Uuid) -> anyhow::Result<bool> {
        Ok(DB::has(self, payment_id).await?)
    }
}

/// A messenger, and the database of its business, in which its messages are, too.
pub(crate) struct Ours<DB: Shop> {
    pub(crate) place: Place<DB>,
    pub(crate) messenger: Messenger,
}

// Derived, it would want a database that can be cloned.
impl<DB: Shop> Clone for Ours<DB> {
    fn clone(&self) -> Self {
        let Place { url, pool } = &self.place;
        Self { place: Place { url: url.clone(), pool: pool.clone() }, messenger: self.messenger.clone() }
    }
}

impl<DB: Shop> Ours<DB> {
    /// One that delivers nothing: for `send`, where nobody does.
    pub(crate) async fn quiet(place: Place<DB>) -> anyhow::Result<Self> {
        let settings = Settings::default().deliver(false);
        Self::open(place, |builder| builder.settings(settings)).await
    }

    pub(crate) async fn open(
        place: Place<DB>,
        adapt: impl FnOnce(MessengerBuilder) -> MessengerBuilder,
    ) -> anyhow::Result<Self> {
        let builder = Messenger::builder(DB::source(&place.pool))
            .fence("business", DB::source(&place.pool))
            .data(Payments(Arc::new(place.pool.clone())));
        let messenger = adapt(builder).build().await.context("building our messenger")?;
        messenger.migrate().await?;
        messenger.start().await?;
        Ok(Self { place, messenger })
    }

    async fn settle(&self) -> anyhow::Result<()> {
        while DB::count_halves(&self.place.pool).await? > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    async fn close(&self) {
        self.messenger.shutdown(Duration::from_secs(5)).await;
    }
}

pub(crate) struct Handler<DB: Shop>(pub(crate) Ours<DB>);

#[async_trait]
impl<DB: Shop> Contestant for Handler<DB> {
    async fn call(&self, payment: Payment) -> anyhow::Result<()> {
        handled(&self.0.messenger, &self.0.place.pool, payment).await
    }

    async fn settle(&self) -> anyhow::Result<()> {
        self.0.settle().await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

pub(crate) struct Fence<DB: Shop>(pub(crate) Ours<DB>);

#[async_trait]
impl<DB: Shop> Contestant for Fence<DB> {
    async fn call(&self, payment: Payment) -> anyhow::Result<()> {
        fenced(&self.0.messenger, &self.0.place.pool, payment).await
    }

    async fn settle(&self) -> anyhow::Result<()> {
        self.0.settle().await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

pub(crate) struct Decides<DB: Shop>(pub(crate) Ours<DB>);

#[async_trait]
impl<DB: Shop> Contestant for Decides<DB> {
    async fn call(&self, payment: Payment) -> anyhow::Result<()> {
        decides(&self.0.messenger, &self.0.place.pool, payment).await
    }

    async fn settle(&self) -> anyhow::Result<()> {
        self.0.settle().await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

pub(crate) struct Imports<DB: Shop>(pub(crate) Ours<DB>);

#[async_trait]
impl<DB: Shop> Contestant for Imports<DB> {
    async fn call(&self, payment: Payment) -> anyhow::Result<()> {
        imports(&self.0.messenger, &self.0.place.pool, payment).await
    }

    async fn settle(&self) -> anyhow::Result<()> {
        self.0.settle().await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

/// The store alone: nothing is done between half message and confirm.
pub(crate) struct Empty<DB: Shop>(pub(crate) Ours<DB>);

#[async_trait]
impl<DB: Shop> Contestant for Empty<DB> {
    async fn call(&self, payment: Payment) -> anyhow::Result<()> {
        empty(&self.0.messenger, payment).await
    }

    async fn settle(&self) -> anyhow::Result<()> {
        self.0.settle().await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
