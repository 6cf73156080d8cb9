//! What the service needs, and what waits, once a second.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Pid;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::caller_log;
use crate::database::{Database, with_pool};
use crate::place::Place;

const PERIOD: Duration = Duration::from_secs(1);
/// A server that does not answer leaves a gap.
const PATIENCE: Duration = Duration::from_millis(900);
/// The broker is asked on a new connection each time, so only in one of so many samples.
const BROKER_EVERY: usize = 5;

/// States in the order of their codes.
const HALF: usize = 0;
const CONFIRMED: usize = 1;
const CANCELLED: usize = 2;
const DELIVERED: usize = 3;
/// Half, confirmed, cancelled, delivered, parked, dead.
pub(super) type States = [i64; 6];

/// How things were at a time since the beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: Duration,
    /// In KiB.
    pub(super) memory: u64,
    pub(super) files: u64,
    pub(super) threads: u64,
    /// To the database server.
    pub(super) connections: u64,
    /// That callers got since the last sample, of all services.
    pub(super) answers: u64,
    pub(super) states: Option<States>,
    /// In the broker's queues.
    pub(super) queued: Option<u32>,
}

impl Sample {
    /// Rows that are half or confirmed.
    pub(super) fn unfinished(&self) -> Option<i64> {
        self.states.map(|states| states[HALF] + states[CONFIRMED])
    }

    /// Rows that are only kept.
    pub(super) fn kept(&self) -> Option<i64> {
        self.states.map(|states| states[CANCELLED] + states[DELIVERED])
    }

    fn line(&self) -> String {
        let states =
            self.states.map_or_else(|| ",".repeat(5), |states| states.map(|n| n.to_string()).join(","));
        let queued = self.queued.map(|queued| queued.to_string()).unwrap_or_default();
        let Self { memory, files, threads, connections, answers, .. } = self;
        format!(
            "{:.1},{memory},{files},{threads},{connections},{answers},{states},{queued}",
            self.at.as_secs_f64()
        )
    }
}

/// Watches a process and its queues.
#[derive(Debug)]
pub(super) struct Sampler<'a> {
    place: &'a Place,
    store: Database,
    began: Instant,
    pid: Pid,
    port: Option<u16>,
    told: File,
    csv: File,
    pub(super) samples: Vec<Sample>,
}

impl<'a> Sampler<'a> {
    pub(super) async fn new(
        place: &'a Place,
        began: Instant,
        pid: Pid,
        port: Option<u16>,
        csv: &Path,
    ) -> anyhow::Result<Self> {
        let mut csv = File::create(csv).with_context(|| format!("making {}", csv.display()))?;
        let states = "half,confirmed,cancelled,delivered,parked,dead";
        writeln!(csv, "seconds,memory_kib,files,threads,connections,answers,{states},queued")?;
        let told = caller_log::follow(&place.directory)?;
        Ok(Self { place, store: place.store().await?, began, pid, port, told, csv, samples: Vec::new() })
    }

    /// Takes samples until the process has ended, which is an error.
    pub(super) async fn run(&mut self) -> anyhow::Result<()> {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let sample = self.take().await.context("the service ended by itself")?;
            writeln!(self.csv, "{}", sample.line())?;
            self.samples.push(sample);
        }
    }

    async fn take(&mut self) -> anyhow::Result<Sample> {
        let process = Path::new("/proc").join(self.pid.to_string());
        let status = fs::read_to_string(process.join("status"))?;
        let field = |name: &str| -> anyhow::Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).context("it is a zombie")?;
            Ok(line.split_whitespace().next().context("no value")?.parse()?)
        };
        let files = files(&process)?;
        Ok(Sample {
            at: self.began.elapsed(),
            memory: field("VmRSS:")?,
            threads: field("Threads:")?,
            files: files.len() as u64,
            connections: self.port.map_or(Ok(0), |port| connections(&files, port))?,
            answers: self.answers()?,
            states: timeout(PATIENCE, self.states()).await.ok().and_then(Result::ok),
            queued: self.queued().await,
        })
    }

    fn answers(&mut self) -> anyhow::Result<u64> {
        let mut lines = String::new();
        self.told.read_to_string(&mut lines)?;
        Ok(lines.lines().count() as u64)
    }

    async fn states(&self) -> anyhow::Result<States> {
        let select = self.store.sql("SELECT state, count(*) FROM tm_message GROUP BY state");
        let rows: Vec<(i64, i64)> =
            with_pool!(&self.store, pool => sqlx::query_as(select).fetch_all(pool).await?);
        let mut states = States::default();
        for (state, count) in rows {
            states[usize::try_from(state)?] = count;
        }
        Ok(states)
    }

    async fn queued(&self) -> Option<u32> {
        let broker = self.place.broker.as_ref()?;
        let is_time = self.samples.len().is_multiple_of(BROKER_EVERY);
        if is_time { timeout(PATIENCE, broker.waiting()).await.ok()?.ok() } else { None }
    }
}

/// What the files of a process are.
fn files(process: &Path) -> anyhow::Result<Vec<String>> {
    let links = fs::read_dir(process.join("fd"))?.filter_map(Result::ok);
    // A file may be closed before it is looked at.
    Ok(links
        .filter_map(|link| Some(fs::read_link(link.path()).ok()?.to_string_lossy().into_owned()))
        .collect())
}

/// How many of these files are connections to a port: `proc_pid_net(5)`.
fn connections(files: &[String], port: u16) -> anyhow::Result<u64> {
    let remote = format!(":{port:04X}");
    let sockets = fs::read_to_string("/proc/net/tcp")?;
    let is_ours = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, _, to, _, _, _, _, _, _, inode, ..] = fields[..] else { return false };
        to.ends_with(&remote) && files.contains(&format!("socket:[{inode}]"))
    };
    Ok(sockets.lines().filter(is_ours).count() as u64)
}
