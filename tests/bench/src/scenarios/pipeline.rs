//! `pipeline`: calls as fast as they go, until the broker has acked their messages and that is marked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::contestants::Contestant;
use crate::contestants::couriers::{self, Courier};
use crate::cpu::Cpu;
use crate::measure::{self, Numbers};
use crate::options::{Database, Options};
use crate::report::Report;
use crate::world::World;

const CALLERS: usize = 64;
/// Of raw publishes, which wait for their confirm: as many as two channels have under way.
pub(super) const RAW_CALLERS: usize = 512;

pub(crate) async fn run(world: &World, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let amqp_url = world.rabbitmq().await?.url();
    let broker = Broker::connect(amqp_url).await?;
    let couriers = couriers::open(couriers::ALL, world, options, &broker, amqp_url).await?;
    let time = options.time(30.0, 0.3);
    for repetition in 1..=options.repetitions(3) {
        for callers in options.callers(&[CALLERS]) {
            for (name, courier) in &couriers {
                let callers = if *name == "raw" { RAW_CALLERS } else { callers };
                broker.purge().await?;
                let numbers = measure_one(courier, callers, time, &world.cpu()).await?;
                report.measured(name, Database::Postgres.name(), callers, numbers);
                report.progress(&format!("{repetition}. {name} {:.0}/s", numbers.per_second));
            }
        }
    }
    for (_, courier) in &couriers {
        courier.close().await;
    }
    goals(report);
    Ok(())
}

/// Calls for `time`, and waits as long again at most for what is not delivered by then.
pub(super) async fn measure_one(
    courier: &Arc<dyn Courier>,
    callers: usize,
    time: Duration,
    cpu: &Cpu,
) -> anyhow::Result<Numbers> {
    let contestant: Arc<dyn Contestant> = Arc::clone(courier) as _;
    let (began, used) = (Instant::now(), cpu.used());
    let mut micros = measure::call_until(&contestant, callers, began + time).await?;
    let mut waiting = courier.waiting().await?;
    while waiting > 0 && began.elapsed() < 2 * time {
        tokio::time::sleep(Duration::from_millis(10)).await;
        waiting = courier.waiting().await?;
    }
    let (elapsed, used) = (began.elapsed(), cpu.used().since(used));
    courier.forget().await?;
    // A message that wasn't delivered doesn't count.
    fastrand::shuffle(&mut micros);
    micros.truncate(micros.len().saturating_sub(usize::try_from(waiting)?));
    Ok(Numbers::of(micros, elapsed, used))
}

fn goals(report: &mut Report) {
    let rate = |numbers: Numbers| numbers.per_second;
    for ours in ["handler", "fence"] {
        for (bound, theirs) in
            [(2.0, ("outbox", CALLERS)), (5.0, ("outbox-postgres", CALLERS)), (0.35, ("raw", RAW_CALLERS))]
        {
            report.at_least(&format!("{ours} rate"), bound, (ours, CALLERS), theirs, rate);
        }
    }
}
