//! `kept`: what is finished stays for a while. How much slower is everything over millions of rows?

use std::sync::Arc;

use sqlx::Postgres;
use transactional_message::{ExchangeKind, RabbitMq};

use super::{pipeline, seed};
use crate::broker::Broker;
use crate::contestants::couriers::Courier;
use crate::contestants::ours::{Fence, Ours};
use crate::options::{Database, Options};
use crate::report::Report;
use crate::world::{Open, World};

/// Rows of messages, and as many of the fence.
const ROWS: [i64; 3] = [0, 1_000_000, 10_000_000];
const QUICK: [i64; 2] = [0, 1000];
const CALLERS: usize = 64;
/// Of the rate over an empty table.
const NOT_FALLING: f64 = 0.9;

pub(crate) async fn run(world: &World, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let amqp_url = world.rabbitmq().await?.url();
    let broker = Broker::connect(amqp_url).await?;
    let time = options.time(15.0, 0.3);
    let mut places = Vec::new();
    for &rows in if options.quick { &QUICK[..] } else { &ROWS } {
        let place = Postgres::open(world, &format!("kept_{rows}")).await?;
        let pool = place.pool.clone();
        let rabbitmq = RabbitMq::new(amqp_url).exchange(crate::EXCHANGE, ExchangeKind::Topic);
        let ours = Ours::open(place, |builder| builder.rabbitmq(rabbitmq)).await?;
        seed::delivered(&pool, rows).await?;
        report.progress(&format!("{rows} rows are there"));
        let courier: Arc<dyn Courier> = Arc::new(Fence(ours));
        places.push((rows, courier));
    }
    for repetition in 1..=options.repetitions(5) {
        for (rows, courier) in &places {
            broker.purge().await?;
            let numbers = pipeline::measure_one(courier, CALLERS, time, &world.cpu()).await?;
            report.measured(&name(*rows), Database::Postgres.name(), CALLERS, numbers);
            report.progress(&format!("{repetition}. {} {:.0}/s", name(*rows), numbers.per_second));
        }
    }
    for (rows, courier) in &places {
        if *rows > 0 {
            let goal = format!("rate over {}", name(*rows));
            report
                .at_least(&goal, NOT_FALLING, (&name(*rows), CALLERS), (&name(0), CALLERS), |n| n.per_second);
        }
        courier.close().await;
    }
    Ok(())
}

/// In the table.
fn name(rows: i64) -> String {
    match rows {
        0 => "empty".into(),
        rows if rows % 1_000_000 == 0 => format!("{} million rows", rows / 1_000_000),
        rows => format!("{rows} rows"),
    }
}
