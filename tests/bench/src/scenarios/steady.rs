//! Calls at a steady pace, whatever the answers take: what a service under moderate load sees.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::contestants::Contestant;
use crate::cpu::Cpu;
use crate::measure::Numbers;
use crate::shop::Payment;

/// Calls until `enough` says so.
pub(super) async fn call(
    contestant: &Arc<dyn Contestant>,
    per_second: u32,
    cpu: &Cpu,
    mut enough: impl FnMut(Duration) -> bool,
) -> anyhow::Result<Numbers> {
    let (began, used) = (Instant::now(), cpu.used());
    let mut calls = JoinSet::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1) / per_second);
    while !enough(began.elapsed()) {
        let due = tick.tick().await;
        let contestant = Arc::clone(contestant);
        calls.spawn(async move {
            contestant.call(Payment::new()).await?;
            anyhow::Ok(due.elapsed())
        });
    }
    let mut micros = Vec::with_capacity(calls.len());
    while let Some(call) = calls.join_next().await {
        micros.push(u32::try_from(call??.as_micros())?);
    }
    Ok(Numbers::of(micros, began.elapsed(), cpu.used().since(used)))
}
