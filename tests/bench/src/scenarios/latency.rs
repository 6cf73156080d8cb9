//! `latency`: 50 calls a second; how long from the commit until an independent consumer has the message.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

use crate::broker::{Broker, Receipt};
use crate::contestants::couriers::{self, Courier};
use crate::cpu::Cpu;
use crate::measure::Numbers;
use crate::options::{Database, Options};
use crate::report::Report;
use crate::shop::Payment;
use crate::world::World;

const PER_SECOND: u32 = 50;
/// Do not take part: now and then a message of `sqlxmq` comes later than [`PATIENCE`], and `RustStream`'s relay
/// polls as `outbox` does, unless a trigger wakes it.
const ABSENT: [&str; 3] = ["sqlxmq", "ruststream-relay", "ruststream-documented"];
/// For messages that come late.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) async fn run(world: &World, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let amqp_url = world.rabbitmq().await?.url();
    let broker = Broker::connect(amqp_url).await?;
    let names: Vec<_> = couriers::ALL.iter().copied().filter(|name| !ABSENT.contains(name)).collect();
    let couriers = couriers::open(&names, world, options, &broker, amqp_url).await?;
    let mut receipts = broker.listen().await?;
    let (time, cpu) = (options.time(4.0, 0.3), world.cpu());
    for repetition in 1..=options.repetitions(5) {
        for (name, courier) in &couriers {
            let numbers = measure_one(name, courier, time, &mut receipts, &cpu).await?;
            report.measured(name, Database::Postgres.name(), 1, numbers);
            report.progress(&format!("{repetition}. {name}"));
        }
    }
    for (_, courier) in &couriers {
        courier.close().await;
    }
    goals(report);
    Ok(())
}

async fn measure_one(
    name: &str,
    courier: &Arc<dyn Courier>,
    time: Duration,
    receipts: &mut UnboundedReceiver<Receipt>,
    cpu: &Cpu,
) -> anyhow::Result<Numbers> {
    let (began, used) = (Instant::now(), cpu.used());
    let mut calls = JoinSet::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
    while began.elapsed() < time {
        tick.tick().await;
        let courier = Arc::clone(courier);
        let at_once = name == "raw";
        calls.spawn(async move {
            let payment = Payment::new();
            let (id, before) = (payment.payment_id, Instant::now());
            courier.call(payment).await?;
            // A raw publish has no commit: its way begins with it.
            anyhow::Ok((id, if at_once { before } else { Instant::now() }))
        });
    }
    let mut committed = HashMap::new();
    while let Some(call) = calls.join_next().await {
        let (id, at) = call??;
        committed.insert(id, at);
    }
    let micros = received(committed, receipts).await.with_context(|| format!("waiting for `{name}`"))?;
    Ok(Numbers::of(micros, began.elapsed(), cpu.used().since(used)))
}

/// How long each was on its way. Duplicates count once, by their first receipt.
async fn received(
    mut committed: HashMap<Uuid, Instant>,
    receipts: &mut UnboundedReceiver<Receipt>,
) -> anyhow::Result<Vec<u32>> {
    let mut micros = Vec::with_capacity(committed.len());
    while !committed.is_empty() {
        let Receipt { payment_id, at } = timeout(PATIENCE, receipts.recv())
            .await
            .context("messages are missing")?
            .context("the consumer ended")?;
        if let Some(commit) = committed.remove(&payment_id) {
            micros.push(u32::try_from(at.saturating_duration_since(commit).as_micros())?);
        }
    }
    Ok(micros)
}

fn goals(report: &mut Report) {
    for ours in ["handler", "fence"] {
        report.at_most(&format!("{ours} p50"), 2.0, (ours, 1), ("raw", 1), |n| n.p50_us);
        report.at_most(&format!("{ours} p99"), 4.0, (ours, 1), ("raw", 1), |n| n.p99_us);
    }
}
