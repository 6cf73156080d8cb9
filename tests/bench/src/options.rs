//! What can be said on the command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};

/// What transactional-message costs, beside what people use instead.
///
/// Starts servers of its own, lets the contestants take turns, prints a table, and says which of our goals
/// are met. Exits with 1 when one is missed.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    /// What to measure.
    pub(crate) scenario: Scenario,
    /// `send`: adds 0.5 ms to every round trip to the database.
    #[arg(long)]
    pub(crate) rtt: bool,
    /// Runs the code, and measures nothing that means anything: one repetition, as short and with as few
    /// rows as it goes, and no word about goals. Leaves the stored results and the page alone.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these contestants.
    #[arg(long, value_delimiter = ',')]
    pub(crate) contestants: Vec<String>,
    /// Only these numbers of callers.
    #[arg(long, value_delimiter = ',')]
    pub(crate) callers: Vec<usize>,
    /// Only these databases.
    #[arg(long, value_delimiter = ',')]
    pub(crate) databases: Vec<Database>,
    /// How long one measurement takes.
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// How often each is repeated.
    #[arg(long)]
    pub(crate) repetitions: Option<usize>,
    /// Where to write JSON lines; by default `tests/bench/results/<scenario>.jsonl`, of which the page is made.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// `report`: writes nothing, and fails if the page is not what would be written.
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// An annotated call whose body inserts one row.
    Send,
    /// A call whose body decides on ten messages.
    Many,
    /// An import: a thousand messages in one transaction, beside a call for each.
    Import,
    /// Calls until their messages are acked by RabbitMQ and marked.
    Pipeline,
    /// From commit to an independent consumer's receipt.
    Latency,
    /// A million confirmed messages wait; draining them, and new calls meanwhile.
    Backlog,
    /// A hundred thousand half messages of a process that died, under live traffic.
    Orphans,
    /// A process is killed; how long until its message is delivered.
    Recovery,
    /// Several processes over one store.
    Instances,
    /// Delivered messages are kept for a while: `pipeline` over millions of them.
    Kept,
    /// A million messages wait for their time.
    Delayed,
    /// A consumer's handler of one message at a time, and one of a hundred.
    Consume,
    /// `send` and `pipeline` on the embedded default.
    Sqlite,
    /// What 500 annotated functions cost at compile time.
    Compile,
    /// All of them, one after the other, and then `report`.
    All,
    /// Writes `BENCHMARKS.md` and its pictures from the stored results.
    Report,
}

impl Scenario {
    pub(crate) const fn needs_rabbitmq(self) -> bool {
        !matches!(
            self,
            Self::Send | Self::Many | Self::Import | Self::Sqlite | Self::Compile | Self::All | Self::Report
        )
    }

    /// The database that its goals are about.
    pub(crate) const fn goal_database(self) -> Database {
        if matches!(self, Self::Sqlite) { Database::Sqlite } else { Database::Postgres }
    }

    /// The databases it is about.
    const fn databases(self) -> &'static [Database] {
        match self {
            Self::Send | Self::Many => &[Database::Postgres, Database::Mysql, Database::Sqlite],
            Self::Compile | Self::All | Self::Report => &[],
            Self::Sqlite => &[Database::Sqlite],
            _ => &[Database::Postgres],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Database {
    Postgres,
    /// MariaDB, in fact: Debian has no MySQL.
    Mysql,
    Sqlite,
}

impl Database {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Sqlite => "sqlite",
        }
    }
}

impl Options {
    /// The scenario's name in tables and files.
    pub(crate) fn name(&self) -> String {
        let name =
            self.scenario.to_possible_value().map_or_else(String::new, |value| value.get_name().into());
        if self.rtt { format!("{name} --rtt") } else { name }
    }

    /// How long one measurement takes, unless somebody said otherwise.
    pub(crate) fn time(&self, seconds: f64, quick: f64) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(if self.quick { quick } else { seconds }))
    }

    pub(crate) fn repetitions(&self, usual: usize) -> usize {
        self.repetitions.unwrap_or(if self.quick { 1 } else { usual })
    }

    /// `usual`, or what was asked for instead. A quick run has the least of them, and one for what calls
    /// do together.
    pub(crate) fn callers(&self, usual: &[usize]) -> Vec<usize> {
        match self.callers.as_slice() {
            [] if self.quick && usual.len() == 1 => vec![4],
            [] if self.quick => vec![1, 4],
            [] => usual.to_vec(),
            chosen => chosen.to_vec(),
        }
    }

    /// So many rows, unless it shall be quick.
    pub(crate) const fn rows(&self, usual: u32, quick: u32) -> u32 {
        if self.quick { quick } else { usual }
    }

    /// Whether somebody chose what takes part.
    pub(crate) const fn is_partial(&self) -> bool {
        !(self.contestants.is_empty() && self.callers.is_empty() && self.databases.is_empty())
    }

    pub(crate) fn wants(&self, contestant: &str) -> bool {
        self.contestants.is_empty() || self.contestants.iter().any(|name| name == contestant)
    }

    pub(crate) fn wants_database(&self, database: Database) -> bool {
        // Only PostgreSQL can be farther away.
        let usual = if self.rtt { &[Database::Postgres] } else { self.scenario.databases() };
        usual.contains(&database) && (self.databases.is_empty() || self.databases.contains(&database))
    }
}

/// For what is not kept: beside the program, and so on a real disk.
pub(crate) fn scratch() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().context("the benchmark is in no directory")?.join("bench-scratch"))
}
