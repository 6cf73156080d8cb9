//! `backlog`: a million confirmed messages wait; a process drains them, and another makes new calls.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use sqlx::{PgPool, Postgres};
use tokio_util::task::AbortOnDropHandle;

use super::{pipeline, seed, steady};
use crate::broker::Broker;
use crate::child::{Child, Role};
use crate::contestants::Contestant;
use crate::contestants::couriers::Courier;
use crate::contestants::ours::{Handler, Ours};
use crate::contestants::raw::Raw;
use crate::measure::{self, Numbers};
use crate::options::{Database, Options};
use crate::report::Report;
use crate::world::{Open, World};

const BACKLOG: u32 = 1_000_000;
/// Enough for several claims.
const QUICK: u32 = 6_000;
/// New calls.
const PER_SECOND: u32 = 50;
const MOST_MEMORY: f64 = 256.0;
/// How much the memory may grow from a quarter of the way to the end.
const FLAT: f64 = 1.1;
/// How much slower a claim may get.
const STEADY: f64 = 1.2;
/// For draining.
const PATIENCE: Duration = Duration::from_mins(15);

const EMPTY: &str = "call, empty table";
const WAITING: &str = "call, backlog waiting";
const MEANWHILE: &str = "call, while it drains";

pub(crate) async fn run(world: &World, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let amqp_url = world.rabbitmq().await?.url();
    let broker = Broker::connect(amqp_url).await?;
    let backlog = options.rows(BACKLOG, QUICK);
    let time = options.time(10.0, 0.3);
    let cpu = world.cpu();

    let raw: Arc<dyn Courier> = Arc::new(Raw::open(&broker).await?);
    let raw = pipeline::measure_one(&raw, pipeline::RAW_CALLERS, time, &cpu).await?;
    report.measured("raw", Database::Postgres.name(), 1, raw);

    let ours = Ours::quiet(Postgres::open(world, "backlog").await?).await?;
    let (pool, url) = (ours.place.pool.clone(), ours.place.url.clone());
    let caller: Arc<dyn Contestant> = Arc::new(Handler(ours));
    let calls = async |enough: &mut (dyn FnMut(Duration) -> bool + Send)| {
        steady::call(&caller, PER_SECOND, &cpu, enough).await
    };
    let database = Database::Postgres.name();
    report.measured(EMPTY, database, 1, calls(&mut |elapsed| elapsed >= time).await?);
    seed::backlog(&pool, backlog.into()).await?;
    report.progress("seeded");
    report.measured(WAITING, database, 1, calls(&mut |elapsed| elapsed >= time).await?);

    log_durations(&pool).await?;
    broker.purge().await?;
    let role = Role { postgres_url: url, amqp_url: amqp_url.into(), fault: None };
    let child = Child::start(&role).await?;
    let process = child.id().context("the child ended")?;
    let draining = AbortOnDropHandle::new(tokio::spawn(drain(broker, process, backlog)));
    report.measured(MEANWHILE, database, 1, calls(&mut |_| draining.is_finished()).await?);
    let drained = draining.await??;
    report.measured("drain", database, 1, Numbers::rate(drained.per_second));
    child.end().await?;
    caller.close().await;

    report.at_least("drain rate", 0.6, ("drain", 1), ("raw", 1), |n| n.per_second);
    for when in [WAITING, MEANWHILE] {
        report.at_most(&format!("p50 of “{when}”"), 1.2, (when, 1), (EMPTY, 1), |n| n.p50_us);
    }
    let Drained { most_memory, growth, .. } = drained;
    let goal = format!("memory of the draining process, in MiB ≤ {MOST_MEMORY}");
    report.goal(&goal, most_memory, most_memory <= MOST_MEMORY);
    let goal = format!("its memory at the end ≤ {FLAT} × that after a quarter");
    report.goal(&goal, growth, growth <= FLAT);
    let slower = claims(world.postgres().await?.directory())?;
    let goal = format!("time of a claim at the end ≤ {STEADY} × that at the start");
    report.goal(&goal, slower, slower <= STEADY);
    Ok(())
}

/// What became of the backlog.
#[derive(Debug)]
struct Drained {
    per_second: f64,
    most_memory: f64,
    growth: f64,
}

/// Watches the process until the queue has them all.
async fn drain(broker: Broker, process: u32, backlog: u32) -> anyhow::Result<Drained> {
    let began = Instant::now();
    let mut samples = Vec::new();
    loop {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let (arrived, memory) = (broker.ready().await?, memory(process)?);
        samples.push((arrived, memory));
        if arrived >= backlog {
            let after_a_quarter = samples.iter().find(|(arrived, _)| arrived * 4 >= backlog);
            let after_a_quarter = after_a_quarter.map_or(memory, |(_, memory)| *memory);
            return Ok(Drained {
                per_second: f64::from(arrived) / began.elapsed().as_secs_f64(),
                most_memory: samples.iter().map(|(_, memory)| *memory).fold(0.0, f64::max),
                growth: memory / after_a_quarter,
            });
        }
        anyhow::ensure!(
            began.elapsed() < PATIENCE,
            "{arrived} of {backlog} were drained within {PATIENCE:?}"
        );
    }
}

/// What a process has in memory, in MiB.
fn memory(process: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process without memory")?;
    let kib: f64 = line.trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}

/// Lets the server log how long the statements of sessions take that begin from now on.
async fn log_durations(pool: &PgPool) -> anyhow::Result<()> {
    let settings = "ALTER DATABASE backlog SET log_min_duration_statement = 0; \
                    ALTER DATABASE backlog SET log_parameter_max_length = 0;";
    sqlx::raw_sql(settings).execute(pool).await?;
    Ok(())
}

/// How long the last tenth of the claims took, in times of the first tenth.
fn claims(server: &Path) -> anyhow::Result<f64> {
    let log = fs::read_to_string(server.join("log"))?;
    let claims = log.lines().filter(|line| line.contains("WITH found AS") && line.contains("state = 1"));
    let took = claims.filter_map(|line| {
        let (time, _) = line.split_once("duration: ")?.1.split_once(" ms  execute")?;
        time.parse::<f64>().ok()
    });
    let took: Vec<_> = took.collect();
    let tenth = took.len() / 10;
    anyhow::ensure!(tenth > 0, "the server logged {} claims", took.len());
    let of = |part: &[f64]| measure::median(part.iter().copied());
    Ok(of(&took[took.len() - tenth..]) / of(&took[..tenth]))
}
