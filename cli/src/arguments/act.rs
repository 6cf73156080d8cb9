//! What the commands take that change something other than single messages.

use std::time::Duration;

use clap::{Args, Subcommand};
use transactional_message::Pausable;

use super::Conditions;

#[derive(Args, Debug)]
pub(crate) struct Pause {
    #[command(flatten)]
    pub(crate) what: What,
    /// For how long, as in 30m: then it goes on by itself
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) lasts: Duration,
    /// Why, as everybody sees it
    #[arg(long)]
    pub(crate) reason: String,
}

#[derive(Args, Debug)]
pub(crate) struct Resume {
    #[command(flatten)]
    pub(crate) what: What,
    /// Why, as kept in the audit
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
}

/// What is paused.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
#[command(next_help_heading = "What")]
pub(crate) struct What {
    /// Deliveries to this exchange
    #[arg(long, value_name = "NAME")]
    exchange: Option<String>,
    /// The consumer of this queue
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Check-backs
    #[arg(long)]
    check_backs: bool,
    /// All of these
    #[arg(long)]
    all: bool,
}

impl What {
    pub(crate) fn pausable(self) -> Pausable {
        match self {
            Self { exchange: Some(name), .. } => Pausable::Exchange(name),
            Self { queue: Some(name), .. } => Pausable::Queue(name),
            Self { check_backs: true, .. } => Pausable::CheckBacks,
            Self { .. } => Pausable::All,
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct Decide {
    /// The messages: their ids, or the beginnings of them; `-` reads them from the input. Without any: those that meet the
    /// conditions, as an operation
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// Why, as kept in the audit and with the message
    #[arg(long)]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
    #[command(flatten)]
    pub(crate) bulk: Bulk,
}

/// How a decision about many messages is carried out.
#[derive(Args, Debug)]
#[command(next_help_heading = "Of an operation")]
pub(crate) struct Bulk {
    /// All that can be decided so, without a condition
    #[arg(long)]
    pub(crate) all: bool,
    /// How many messages at most: the newest
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: u32,
    /// How long nothing is done yet, so that it can be stopped without a trace
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) begin_in: Duration,
    /// How many messages a second
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,
    /// How long it waits after the first message, after 10 more, after 100 more, to see whether they were tried in vain since
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) look_for: Duration,
    /// Stops by itself after more failures than that: refused, failed, or tried in vain since
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    pub(crate) stop_after_failures: u64,
    /// Leaves it to the processes over the store, and does not wait
    #[arg(long)]
    pub(crate) detach: bool,
}

/// Decisions about many messages.
#[derive(Debug, Subcommand)]
pub(crate) enum Operations {
    /// Lists operations, the newest first
    List {
        /// How many at most
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Shows an operation, and what became of its messages
    Show {
        /// Its id, or the beginning of it
        id: String,
        /// How many messages at most
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
    /// Stops an operation, whoever carries it out: what was done is done
    Stop {
        /// Its id, or the beginning of it
        id: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Goes on with an operation that was interrupted, or waits for its end
    Run {
        /// Its id, or the beginning of it
        id: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Prune {
    /// Finished for longer than this, as in 30days; at least an hour
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) older_than: Duration,
    /// Also records of the audit that are older, for which the right to delete them is needed
    #[arg(long)]
    pub(crate) audit: bool,
}
