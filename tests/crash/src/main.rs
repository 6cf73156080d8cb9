//! Kills a service with `SIGKILL` at every point of a message's way, starts it again, and compares
//! the books: every action has its effects, once, and there are no others.
//!
//! `cargo run -p services -- run -- cargo run -p crash -- --kills 1000 --database postgres --broker rabbitmq`

mod books;
mod broker;
mod caller_log;
mod child;
mod database;
mod history;
mod place;
mod process;
mod report;
mod scenario;
mod schedule;
mod service;
mod soak;
mod supervisor;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use child::Life;
use database::Kind;
use place::StoreIn;
use scenario::Scenario;
use schedule::Target;
use soak::Soak;
use supervisor::Plan;

/// Kills, restarts, compares.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// How often the service is killed: every point in turn.
    #[arg(long, default_value_t = 100)]
    kills: usize,
    /// Where store, business and accounting are.
    #[arg(long, value_enum, default_value = "sqlite")]
    database: Kind,
    /// What carries the messages.
    #[arg(long, value_enum, default_value = "in-process")]
    broker: BrokerKind,
    /// The database that the message store is in.
    #[arg(long, value_enum, default_value = "own")]
    store_in: StoreIn,
    /// Also freezes the service at every point, until another process has taken over.
    #[arg(long)]
    freeze: bool,
    /// Only these: points, `anywhere`, `freeze:<point>`, `freeze:<point>:<point>`.
    #[arg(long, value_delimiter = ',')]
    points: Vec<Target>,
    /// Calls made at once.
    #[arg(long, default_value_t = 8)]
    callers: u64,
    /// Another service is at work all the time.
    #[arg(long)]
    beside: bool,
    /// This program, of an earlier version, makes the tables, and is at work from before they are brought up to date to the end:
    /// one round, since it could not start again.
    #[arg(long, value_name = "PROGRAM", conflicts_with = "beside")]
    old: Option<PathBuf>,
    /// Which visits of points kill, and what is called, is drawn from this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Keeps nothing when something is wrong.
    #[arg(long, global = true)]
    discard: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BrokerKind {
    InProcess,
    #[value(name = "rabbitmq")]
    RabbitMq,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plays a directed scenario.
    Play {
        #[arg(value_enum)]
        scenario: Scenario,
        /// Where store, business and accounting are.
        #[arg(long, value_enum)]
        database: Kind,
    },
    /// Lets the service live for long, while everything around it fails, and watches its memory.
    Soak(Soak),
    /// Runs the service to be killed. For the supervisor.
    #[command(hide = true)]
    Live {
        directory: PathBuf,
        #[command(flatten)]
        life: Life,
    },
    /// Runs the service that one of its messages kills. For the scenario.
    #[command(hide = true)]
    LiveWithKiller {
        directory: PathBuf,
        /// Sends the messages.
        #[arg(long)]
        first: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = run(Arguments::parse()).await;
    let Err(error) = done else { return ExitCode::SUCCESS };
    eprintln!("{error:#}");
    ExitCode::FAILURE
}

#[expect(clippy::print_stdout, reason = "the report")]
async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Some(Command::Live { directory, life }) => return Box::pin(child::run(&directory, life)).await,
        Some(Command::LiveWithKiller { directory, first }) => {
            return Box::pin(scenario::killer::live(&directory, first)).await;
        }
        Some(Command::Play { scenario, database }) => {
            return Box::pin(scenario::play(scenario, database, arguments.discard)).await;
        }
        Some(Command::Soak(soak)) => return Box::pin(soak::run(soak, arguments.discard)).await,
        None => {}
    }
    let mut targets = arguments.points;
    if targets.is_empty() {
        targets = Target::all();
        targets.extend(arguments.freeze.then(Target::frozen).into_iter().flatten());
    }
    if arguments.beside || arguments.old.is_some() {
        // It prunes what is a few seconds old, and must not find others at work on it.
        targets.retain(|target| !target.is_at("janitor-between"));
    }
    let plan = Plan {
        kind: arguments.database,
        with_broker: arguments.broker == BrokerKind::RabbitMq,
        store_in: arguments.store_in,
        kills: arguments.kills,
        targets,
        callers: arguments.callers,
        beside: arguments.beside,
        old: arguments.old,
        discard: arguments.discard,
        seed: arguments.seed.unwrap_or_else(|| fastrand::u64(..)),
    };
    println!("{}", supervisor::run(plan).await?);
    Ok(())
}
