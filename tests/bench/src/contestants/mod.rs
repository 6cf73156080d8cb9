//! Who takes part: each written as its own users would write it.

pub(crate) mod by_hand;
pub(crate) mod couriers;
pub(crate) mod ours;
pub(crate) mod outbox_postgres;
mod peer;
pub(crate) mod raw;
pub(crate) mod ruststream;
pub(crate) mod sqlxmq;

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{MySql, Postgres, Sqlite};

use crate::options::{Database, Options};
use crate::shop::Payment;
use crate::world::{Open, World};

/// The messages of a call that has several.
const MANY: usize = 10;

/// Somebody who makes a payment, and sees to it that its message will be sent.
#[async_trait]
pub(crate) trait Contestant: Send + Sync {
    /// Returns when the payment's maker may go on.
    async fn call(&self, payment: Payment) -> anyhow::Result<()>;

    /// Waits until everything that calls left behind is stored.
    async fn settle(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Ends what runs in the background.
    async fn close(&self) {}
}

/// A contestant with its names.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) database: Database,
    pub(crate) contestant: Arc<dyn Contestant>,
}

/// Everybody who can be asked to `send`, on these databases, without delivery.
pub(crate) async fn senders(world: &World, options: &Options) -> anyhow::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    if options.wants_database(Database::Postgres) {
        entries.extend(on::<Postgres>(world, options, Database::Postgres).await?);
        let mut add = Adding { options, database: Database::Postgres, entries: &mut entries };
        add.entry("outbox-postgres", async || outbox_postgres::Sender::open(world, "outbox_postgres").await)
            .await?;
        add.entry("sqlxmq", async || sqlxmq::Sender::open(world, "sqlxmq").await).await?;
        add.entry("ruststream-relay", async || ruststream::Sender::open(world, "ruststream_relay").await)
            .await?;
    }
    if options.wants_database(Database::Mysql) {
        entries.extend(on::<MySql>(world, options, Database::Mysql).await?);
    }
    if options.wants_database(Database::Sqlite) {
        entries.extend(on::<Sqlite>(world, options, Database::Sqlite).await?);
    }
    Ok(entries)
}

/// Those who send several messages in a call.
pub(crate) async fn senders_of_many(world: &World, options: &Options) -> anyhow::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    if options.wants_database(Database::Postgres) {
        many_on::<Postgres>(world, options, Database::Postgres, &mut entries).await?;
    }
    if options.wants_database(Database::Mysql) {
        many_on::<MySql>(world, options, Database::Mysql, &mut entries).await?;
    }
    if options.wants_database(Database::Sqlite) {
        many_on::<Sqlite>(world, options, Database::Sqlite, &mut entries).await?;
    }
    Ok(entries)
}

async fn many_on<DB: Open>(
    world: &World,
    options: &Options,
    database: Database,
    entries: &mut Vec<Entry>,
) -> anyhow::Result<()> {
    let mut add = Adding { options, database, entries };
    let outbox = async || Ok(by_hand::OutboxOfMany(DB::open(world, "outbox_many").await?));
    add.entry("outbox", outbox).await?;
    let fence = async || Ok(ours::Decides(ours::Ours::quiet(DB::open(world, "fence_many").await?).await?));
    add.entry("fence", fence).await
}

/// Those who can be on any database.
async fn on<DB: Open>(world: &World, options: &Options, database: Database) -> anyhow::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut add = Adding { options, database, entries: &mut entries };
    add.entry("bare", async || Ok(by_hand::Bare(DB::open(world, "bare").await?))).await?;
    add.entry("bare-tx", async || Ok(by_hand::BareTransaction(DB::open(world, "bare_tx").await?))).await?;
    add.entry("outbox", async || Ok(by_hand::Outbox(DB::open(world, "outbox").await?))).await?;
    add.entry("unbatched", async || {
        Ok(by_hand::Unbatched { place: DB::open(world, "unbatched").await?, empty: false })
    })
    .await?;
    add.entry("handler", async || {
        Ok(ours::Handler(ours::Ours::quiet(DB::open(world, "handler").await?).await?))
    })
    .await?;
    add.entry("fence", async || Ok(ours::Fence(ours::Ours::quiet(DB::open(world, "fence").await?).await?)))
        .await?;
    Ok(entries)
}

/// Opens what is wanted.
struct Adding<'a> {
    options: &'a Options,
    database: Database,
    entries: &'a mut Vec<Entry>,
}

impl Adding<'_> {
    async fn entry<C: Contestant + 'static>(
        &mut self,
        name: &'static str,
        open: impl AsyncFnOnce() -> anyhow::Result<C>,
    ) -> anyhow::Result<()> {
        if self.options.wants(name) {
            let contestant = Arc::new(open().await?);
            self.entries.push(Entry { name, database: self.database, contestant });
        }
        Ok(())
    }
}
