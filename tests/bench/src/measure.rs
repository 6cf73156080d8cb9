//! Callers that call as fast as they can, and what that came to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::contestants::Contestant;
use crate::cpu::{Cpu, Used};
use crate::report::results::or_nan;
use crate::shop::Payment;

/// Not counted: connections are opened, statements prepared.
const WARM_UP: Duration = Duration::from_millis(100);

/// What one measurement came to.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Numbers {
    #[serde(deserialize_with = "or_nan")]
    pub(crate) per_second: f64,
    #[serde(deserialize_with = "or_nan")]
    pub(crate) p50_us: f64,
    #[serde(deserialize_with = "or_nan")]
    pub(crate) p99_us: f64,
    /// This process's CPU time for a call.
    #[serde(deserialize_with = "or_nan")]
    pub(crate) own_cpu_us: f64,
    /// The servers'.
    #[serde(deserialize_with = "or_nan")]
    pub(crate) server_cpu_us: f64,
}

impl Numbers {
    const NOTHING: Self = Self {
        per_second: f64::NAN,
        p50_us: f64::NAN,
        p99_us: f64::NAN,
        own_cpu_us: f64::NAN,
        server_cpu_us: f64::NAN,
    };

    pub(crate) fn of(mut micros: Vec<u32>, time: Duration, cpu: Used) -> Self {
        micros.sort_unstable();
        Self {
            own_cpu_us: cpu.own.as_secs_f64() * 1e6 / micros.len() as f64,
            server_cpu_us: cpu.servers.as_secs_f64() * 1e6 / micros.len() as f64,
            per_second: micros.len() as f64 / time.as_secs_f64(),
            p50_us: percentile(&micros, 50),
            p99_us: percentile(&micros, 99),
        }
    }

    /// Of something that has only a rate.
    pub(crate) const fn rate(per_second: f64) -> Self {
        Self { per_second, ..Self::NOTHING }
    }

    /// Of several repetitions, number by number.
    pub(crate) fn median(all: &[Self]) -> Self {
        let of = |number: fn(&Self) -> f64| median(all.iter().map(number));
        Self {
            per_second: of(|n| n.per_second),
            p50_us: of(|n| n.p50_us),
            p99_us: of(|n| n.p99_us),
            own_cpu_us: of(|n| n.own_cpu_us),
            server_cpu_us: of(|n| n.server_cpu_us),
        }
    }
}

pub(crate) fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    }
}

/// Of sorted numbers.
pub(crate) fn percentile(sorted: &[u32], percent: usize) -> f64 {
    sorted
        .get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)))
        .map_or(f64::NAN, |&n| n.into())
}

/// Lets `callers` call for this long, each as fast as it can. The clock stops when everything that the
/// calls left behind is stored, too: nobody gets faster by putting things off.
pub(crate) async fn load(
    contestant: &Arc<dyn Contestant>,
    callers: usize,
    time: Duration,
    cpu: &Cpu,
) -> anyhow::Result<Numbers> {
    call_until(contestant, callers, Instant::now() + WARM_UP.min(time)).await?;
    contestant.settle().await?;
    let (began, used) = (Instant::now(), cpu.used());
    let micros = call_until(contestant, callers, began + time).await?;
    contestant.settle().await?;
    Ok(Numbers::of(micros, began.elapsed(), cpu.used().since(used)))
}

/// The calls' latencies, in microseconds.
pub(crate) async fn call_until(
    contestant: &Arc<dyn Contestant>,
    callers: usize,
    end: Instant,
) -> anyhow::Result<Vec<u32>> {
    let mut running = JoinSet::new();
    for _ in 0..callers {
        let contestant = Arc::clone(contestant);
        running.spawn(async move {
            let mut micros = Vec::with_capacity(8192);
            while Instant::now() < end {
                let called = Instant::now();
                contestant.call(Payment::new()).await?;
                micros.push(u32::try_from(called.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            anyhow::Ok(micros)
        });
    }
    let mut all = Vec::new();
    while let Some(micros) = running.join_next().await {
        all.extend(micros??);
    }
    Ok(all)
}
