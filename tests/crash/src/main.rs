//! Kills a service with `SIGKILL` at every point of a message's way, starts it again, and compares
//! the books: every payment has one voucher, and no other has.
//!
//! `cargo run -p crash -- --rounds 20 --seed 7`

mod books;
mod child;
mod supervisor;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Kills, restarts, compares.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often each point is died at.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Which of its visits to a point kills the process is drawn from this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs the service to be killed, in this directory. For the supervisor.
    #[arg(long, hide = true)]
    child: Option<PathBuf>,
    /// The service makes no calls; it ends when everything is settled. For the supervisor.
    #[arg(long, hide = true)]
    quiet: bool,
    /// How long the service keeps finished messages, in seconds. For the supervisor.
    #[arg(long, hide = true, default_value_t = 7200)]
    retention: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.child {
        Some(directory) => {
            child::run(&directory, arguments.quiet, Duration::from_secs(arguments.retention)).await
        }
        None => supervisor::run(arguments.rounds, arguments.seed.unwrap_or_else(|| fastrand::u64(..))).await,
    }
}
