//! `orphans`: half messages of a process that died are settled under live traffic; what that costs the
//! live calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::{PgPool, Postgres};
use tokio_util::task::AbortOnDropHandle;
use transactional_message::{ExchangeKind, RabbitMq};

use super::{seed, steady};
use crate::broker::Broker;
use crate::contestants::Contestant;
use crate::contestants::ours::{Handler, Ours};
use crate::options::{Database, Options};
use crate::report::Report;
use crate::shop::Shop;
use crate::world::{Open, World};

const ORPHANS: u32 = 100_000;
/// More than live calls have half messages.
const QUICK: u32 = 4 * PER_SECOND;
const PER_SECOND: u32 = 100;
/// For settling all of them.
const PATIENCE: Duration = Duration::from_mins(5);

pub(crate) async fn run(world: &World, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let amqp_url = world.rabbitmq().await?.url();
    let _queue = Broker::connect(amqp_url).await?;
    let orphans = options.rows(ORPHANS, QUICK);
    let time = options.time(15.0, 0.3);
    for repetition in 1..=options.repetitions(3) {
        let place = Postgres::open(world, &format!("orphans_{repetition}")).await?;
        let rabbitmq = RabbitMq::new(amqp_url).exchange(crate::EXCHANGE, ExchangeKind::Topic);
        let ours = Ours::open(place, |builder| builder.rabbitmq(rabbitmq)).await?;
        let pool = ours.place.pool.clone();
        let contestant: Arc<dyn Contestant> = Arc::new(Handler(ours));
        let cpu = world.cpu();

        let without = steady::call(&contestant, PER_SECOND, &cpu, |elapsed| elapsed >= time).await?;
        report.measured("without orphans", Database::Postgres.name(), 1, without);

        seed::orphans(&pool, orphans.into()).await?;
        let (settled, began) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let _watching = AbortOnDropHandle::new(tokio::spawn(watch(pool.clone(), Arc::clone(&settled))));
        let enough = |elapsed| settled.load(Ordering::Relaxed) || elapsed > PATIENCE;
        let with = steady::call(&contestant, PER_SECOND, &cpu, enough).await?;
        report.measured("with orphans", Database::Postgres.name(), 1, with);
        report.progress(&format!("{repetition}. {orphans} orphans settled in {:.1?}", began.elapsed()));
        anyhow::ensure!(settled.load(Ordering::Relaxed), "orphans were not settled within {PATIENCE:?}");
        contestant.close().await;
        pool.close().await;
    }
    let (with, without) = (("with orphans", 1), ("without orphans", 1));
    report.at_most("p99 of live calls with orphans", 1.3, with, without, |n| n.p99_us);
    Ok(())
}

/// Says when no half message is left that is not a live call's.
async fn watch(pool: PgPool, settled: Arc<AtomicBool>) {
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        // Live calls have a few halves at every moment.
        if Postgres::count_halves(&pool).await.is_ok_and(|halves| halves < i64::from(PER_SECOND)) {
            settled.store(true, Ordering::Relaxed);
            return;
        }
    }
}
