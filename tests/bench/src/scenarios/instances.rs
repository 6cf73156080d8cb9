//! `instances`: several processes over one store; together they are no slower than one, and none delivers
//! what another has.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Context;
use sqlx::Postgres;
use tokio::sync::mpsc::UnboundedReceiver;
use uuid::Uuid;

use crate::broker::{Broker, Receipt};
use crate::child::{Child, Role, Task};
use crate::measure::Numbers;
use crate::options::{Database, Options};
use crate::report::Report;
use crate::world::{Open, World};

const INSTANCES: [usize; 4] = [1, 2, 4, 8];
/// Of all instances together.
const CALLERS: usize = 64;
/// What counts as not falling: the machine is never quiet.
const NOT_FALLING: f64 = 0.9;
/// How long nothing comes any more before it is believed that nothing will: over two leases.
const SILENCE: Duration = Duration::from_secs(12);

pub(crate) async fn run(world: &World, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let amqp_url = world.rabbitmq().await?.url();
    let broker = Broker::connect(amqp_url).await?;
    let mut receipts = broker.listen().await?;
    let time = options.time(5.0, 0.3);
    let counts = if options.quick { &INSTANCES[..2] } else { &INSTANCES };
    // A quick run would rather miss a duplicate than wait for one.
    let silence = if options.quick { Duration::from_secs(1) } else { SILENCE };
    let mut duplicates = 0;
    for repetition in 1..=options.repetitions(3) {
        for &count in counts {
            let place = Postgres::open(world, &format!("instances_{count}_{repetition}")).await?;
            let role = Role { postgres_url: place.url.clone(), amqp_url: amqp_url.into(), fault: None };
            let mut children = Vec::new();
            for _ in 0..count {
                children.push(Child::start(&role).await?);
            }
            let began = Instant::now();
            for child in &mut children {
                child.ask(&Task::Load { callers: CALLERS / count, seconds: time.as_secs_f64() }).await?;
            }
            let mut calls = 0;
            for child in &mut children {
                calls += child.answer::<usize>().await?;
            }
            let heard = hear(calls, &mut receipts, silence).await?;
            duplicates += heard.duplicates;
            let per_second = calls as f64 / heard.last.saturating_duration_since(began).as_secs_f64();
            report.measured(&name(count), Database::Postgres.name(), CALLERS, Numbers::rate(per_second));
            report.progress(&format!(
                "{repetition}. {count}: {per_second:.0}/s, {} duplicates",
                heard.duplicates
            ));
            for child in children {
                child.end().await?;
            }
            place.pool.close().await;
        }
    }
    report.goal("duplicates in quiet running = 0", f64::from(duplicates), duplicates == 0);
    // Eight have to show where it goes, and have no goal.
    for count in &INSTANCES[1..3] {
        let (ours, theirs) = (name(*count), name(1));
        let goal = format!("rate of {ours}");
        report.at_least(&goal, NOT_FALLING, (&ours, CALLERS), (&theirs, CALLERS), |n| n.per_second);
    }
    Ok(())
}

/// In the table.
fn name(count: usize) -> String {
    format!("{count} {}", if count == 1 { "instance" } else { "instances" })
}

struct Heard {
    duplicates: u32,
    /// When the last message came for the first time.
    last: Instant,
}

/// Listens until all have come, and for a while longer.
async fn hear(
    calls: usize,
    receipts: &mut UnboundedReceiver<Receipt>,
    silence: Duration,
) -> anyhow::Result<Heard> {
    let mut seen: HashSet<Uuid> = HashSet::with_capacity(calls);
    let mut heard = Heard { duplicates: 0, last: Instant::now() };
    while let Ok(receipt) = tokio::time::timeout(silence, receipts.recv()).await {
        let Receipt { payment_id, at } = receipt.context("the consumer ended")?;
        if seen.insert(payment_id) {
            heard.last = at;
        } else {
            heard.duplicates += 1;
        }
    }
    anyhow::ensure!(seen.len() == calls, "{} of {calls} messages came", seen.len());
    Ok(heard)
}
