//! `delayed`: a million messages wait for their time. What do they cost others, and how fast do they go when it comes?

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{PgPool, Postgres};
use transactional_message::{ExchangeKind, RabbitMq};

use super::{pipeline, seed};
use crate::broker::Broker;
use crate::contestants::Contestant;
use crate::contestants::couriers::Courier;
use crate::contestants::ours::{Fence, Ours};
use crate::measure::{self, Numbers};
use crate::options::{Database, Options};
use crate::report::Report;
use crate::world::{Open, World};

const WAITING: u32 = 1_000_000;
const QUICK: u32 = 2_000;
/// How many fall due at once.
const DUE: u32 = 10_000;
const CALLERS: usize = 64;
const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) async fn run(world: &World, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let amqp_url = world.rabbitmq().await?.url();
    let broker = Broker::connect(amqp_url).await?;
    let database = Database::Postgres.name();
    let waiting = options.rows(WAITING, QUICK);
    let mut places = Vec::new();
    for (name, rows) in [("empty table", 0), ("over delayed messages", waiting)] {
        let place = Postgres::open(world, &format!("delayed_{rows}")).await?;
        let pool = place.pool.clone();
        let rabbitmq = RabbitMq::new(amqp_url).exchange(crate::EXCHANGE, ExchangeKind::Topic);
        let ours = Ours::open(place, |builder| builder.rabbitmq(rabbitmq)).await?;
        seed::delayed(&pool, rows.into()).await?;
        report.progress(&format!("{rows} wait"));
        places.push((name, pool, Arc::new(Fence(ours))));
    }
    let (time, cpu) = (options.time(2.0, 0.1), world.cpu());
    for repetition in 1..=options.repetitions(7) {
        for (name, _, fence) in &places {
            let contestant: Arc<dyn Contestant> = Arc::clone(fence) as _;
            report.measured(name, database, 1, measure::load(&contestant, 1, time, &cpu).await?);
        }
        report.progress(&format!("{repetition}."));
    }
    let time = options.time(10.0, 0.3);
    for repetition in 1..=options.repetitions(5) {
        broker.purge().await?;
        let courier: Arc<dyn Courier> = Arc::clone(&places[0].2) as _;
        let numbers = pipeline::measure_one(&courier, CALLERS, time, &cpu).await?;
        report.measured("pipeline", database, CALLERS, numbers);
        let rate = fall_due(&broker, &places[1].1, options.rows(DUE, QUICK / 2)).await?;
        report.measured("falling due", database, CALLERS, Numbers::rate(rate));
        report.progress(&format!("{repetition}. {rate:.0}/s"));
    }
    for (_, _, fence) in &places {
        fence.close().await;
    }
    let (over, empty) = (("over delayed messages", 1), ("empty table", 1));
    report.at_most("p50 of a call", 1.1, over, empty, |numbers| numbers.p50_us);
    let (due, pipeline) = (("falling due", CALLERS), ("pipeline", CALLERS));
    report.at_least("rate", 0.8, due, pipeline, |numbers| numbers.per_second);
    Ok(())
}

/// How many a second are delivered when so many fall due at once.
async fn fall_due(broker: &Broker, pool: &PgPool, count: u32) -> anyhow::Result<f64> {
    broker.purge().await?;
    let due = format!(
        "UPDATE tm_message SET due_at = 0, deliver_at = 0 WHERE id IN \
         (SELECT id FROM tm_message WHERE state = 1 AND deliver_at > 0 LIMIT {count})"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(due)).execute(pool).await?;
    let began = Instant::now();
    while broker.ready().await? < count {
        anyhow::ensure!(began.elapsed() < PATIENCE, "they were not delivered within {PATIENCE:?}");
        // Pacing between two looks: asking the broker must not cost what is measured.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}
