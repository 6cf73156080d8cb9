//! `recovery`: a process is killed; how long until another one has delivered its message.

use std::time::{Duration, Instant};

use anyhow::Context;
use sqlx::Postgres;
use tokio::sync::mpsc::UnboundedReceiver;
use transactional_message::Settings;

use crate::broker::{Broker, Receipt};
use crate::child::{Child, Role, Task};
use crate::options::Options;
use crate::report::Report;
use crate::world::{Open, World};

/// Where it is killed: the body has committed and nobody has reported it; the broker has acked the message
/// and that is not marked, so that it comes a second time.
const POINTS: [(&str, &str); 2] =
    [("committed", "committed, before report"), ("acked", "published, before mark")];
/// On top of a lease.
const MARGIN: Duration = Duration::from_secs(1);

pub(crate) async fn run(world: &World, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let amqp_url = world.rabbitmq().await?.url();
    let broker = Broker::connect(amqp_url).await?;
    let mut receipts = broker.listen().await?;
    for repetition in 1..=options.repetitions(5) {
        for (point, what) in POINTS {
            let place = Postgres::open(world, &format!("recovery_{point}_{repetition}")).await?;
            let role = |fault| Role { postgres_url: place.url.clone(), amqp_url: amqp_url.into(), fault };
            let rescuer = Child::start(&role(None)).await?;
            let mut victim = Child::start(&role(Some(format!("die@{point}:1")))).await?;
            victim.ask(&Task::Call).await?;
            let killed = victim.dies().await?;
            let took = delivered_after(killed, &mut receipts).await.context(what)?;
            report.took(what, took);
            report.progress(&format!("{repetition}. {what}: {took:.2?}"));
            rescuer.end().await?;
            place.pool.close().await;
        }
    }
    let bound = Settings::default().lease + MARGIN;
    for (_, what) in POINTS {
        if let Some(seconds) = report.longest(what) {
            let bound = bound.as_secs_f64();
            let goal =
                format!("{what}: seconds until delivered, at the longest ≤ {bound} (a lease, and 1 s)");
            report.goal(&goal, seconds, seconds <= bound);
        }
    }
    Ok(())
}

/// How long after `killed` the message came. What came before was sent by the process that died.
async fn delivered_after(
    killed: Instant,
    receipts: &mut UnboundedReceiver<Receipt>,
) -> anyhow::Result<Duration> {
    let wait = async {
        loop {
            let receipt = receipts.recv().await.context("the consumer ended")?;
            if let Some(took) = receipt.at.checked_duration_since(killed) {
                return anyhow::Ok(took);
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), wait).await.context("never delivered")?
}
