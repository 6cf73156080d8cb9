//! `consume`: a queue full of messages; a handler of one at a time, and one of a hundred.

use std::time::{Duration, Instant};

use sqlx::{PgConnection, PgPool, Postgres};
use transactional_message::{Consumer, ExchangeKind, RabbitMq, Received};
use uuid::Uuid;

use crate::broker::{self, Broker};
use crate::contestants::ours::Ours;
use crate::measure::Numbers;
use crate::options::{Database, Options};
use crate::report::Report;
use crate::shop::Payment;
use crate::world::{Open, Place, World};

const MESSAGES: u32 = 20_000;
const QUICK: u32 = 500;
const BATCH: usize = 100;
const PATIENCE: Duration = Duration::from_mins(2);
/// Publishes that wait for their confirms.
const WINDOW: usize = 256;

const INSERT: &str =
    "INSERT INTO voucher (payment_id, amount_cents) SELECT * FROM unnest($1::uuid[], $2::bigint[])";

async fn book(tx: &mut PgConnection, paid: Received<Payment>) -> Result<(), sqlx::Error> {
    let Payment { payment_id, amount_cents, .. } = paid.payload;
    sqlx::query(INSERT).bind([payment_id]).bind([amount_cents]).execute(tx).await?;
    Ok(())
}

async fn book_all(tx: &mut PgConnection, paid: Vec<Received<Payment>>) -> Result<(), sqlx::Error> {
    let (ids, cents): (Vec<_>, Vec<_>) =
        paid.iter().map(|paid| (paid.payload.payment_id, paid.payload.amount_cents)).unzip();
    sqlx::query(INSERT).bind(ids).bind(cents).execute(tx).await?;
    Ok(())
}

pub(crate) async fn run(world: &World, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let amqp_url = world.rabbitmq().await?.url();
    let broker = Broker::connect(amqp_url).await?;
    let place = Postgres::open(world, "consume").await?;
    let pool = place.pool.clone();
    sqlx::raw_sql("CREATE TABLE voucher (payment_id uuid PRIMARY KEY, amount_cents bigint)")
        .execute(&pool)
        .await?;
    let count = options.rows(MESSAGES, QUICK);
    for repetition in 1..=options.repetitions(5) {
        for (name, size) in [("one", 1), ("batch", BATCH)] {
            let consumer = match size {
                1 => Consumer::new(name, pool.clone(), book),
                size => Consumer::batch(name, size, pool.clone(), book_all),
            };
            let rate = drain(amqp_url, &broker, consumer, &place, count).await?;
            report.measured(name, Database::Postgres.name(), 8, Numbers::rate(rate));
            report.progress(&format!("{repetition}. {name} {rate:.0}/s"));
        }
    }
    report.at_least("messages a second", 4.0, ("batch", 8), ("one", 8), |numbers| numbers.per_second);
    Ok(())
}

/// How many messages a second are handled of a queue that is full of them.
async fn drain(
    amqp_url: &str,
    broker: &Broker,
    consumer: Consumer,
    place: &Place<Postgres>,
    count: u32,
) -> anyhow::Result<f64> {
    let pool = &place.pool;
    let consumer = consumer.bind(crate::EXCHANGE, "#");
    let start = async || {
        let rabbitmq = RabbitMq::new(amqp_url).exchange(crate::EXCHANGE, ExchangeKind::Topic);
        let here = Place { url: place.url.clone(), pool: pool.clone() };
        let ours = Ours::open(here, |builder| builder.rabbitmq(rabbitmq).consumer(consumer.clone())).await?;
        anyhow::Ok(ours.messenger)
    };
    // Declares the queue, and is gone while that is filled.
    let first = start().await?;
    // Until the queue is there, and bound, and one comes through.
    while count_booked(pool).await? == 0 {
        fill(broker, 1).await?;
        // Pacing: one at a time until one comes through; the loop waits on that.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    first.shutdown(Duration::from_secs(5)).await;
    sqlx::raw_sql("TRUNCATE voucher").execute(pool).await?;
    fill(broker, count).await?;
    let began = Instant::now();
    let messenger = start().await?;
    booked(pool, count).await?;
    let rate = f64::from(count) / began.elapsed().as_secs_f64();
    messenger.shutdown(Duration::from_secs(5)).await;
    sqlx::raw_sql("TRUNCATE voucher").execute(pool).await?;
    broker.purge().await?;
    Ok(rate)
}

async fn fill(broker: &Broker, count: u32) -> anyhow::Result<()> {
    let channel = broker.confirming().await?;
    let mut confirms = std::collections::VecDeque::new();
    for _ in 0..count {
        confirms.push_back(broker::publish(&channel, Uuid::now_v7(), &Payment::new().json()?).await?);
        if confirms.len() >= WINDOW
            && let Some(confirm) = confirms.pop_front()
        {
            broker::confirmed(confirm).await?;
        }
    }
    for confirm in confirms {
        broker::confirmed(confirm).await?;
    }
    Ok(())
}

async fn count_booked(pool: &PgPool) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM voucher").fetch_one(pool).await?)
}

async fn booked(pool: &PgPool, count: u32) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let there = count_booked(pool).await?;
        if there >= i64::from(count) {
            return Ok(());
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "{there} of {count} were booked within {PATIENCE:?}");
        // Pacing between two looks: counting must not cost what is measured.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
