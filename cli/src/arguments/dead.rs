//! What `tm dead` takes.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::{Args, Subcommand};

#[derive(Args, Debug)]
pub(crate) struct Dead {
    /// Takes messages in hand also where the queue has no delivery limit of its own that can be seen: a policy sets a large one.
    /// Where the queue has a small one of its own, no policy raises it, and this loses dead letters
    #[arg(long, global = true)]
    pub(crate) despite_limit: bool,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Counts the dead letters of consumers' queues, and says why the first of each is dead
    List(ListDead),
    /// Shows the first dead letters of a queue, or one of them
    Show(ShowDead),
    /// Sends dead letters to their consumer again
    Redrive(RedriveDead),
    /// Removes dead letters for good
    Discard(DiscardDead),
}

#[derive(Args, Debug)]
pub(crate) struct ListDead {
    /// The consumers' queues. Default: those of the consumers that have announced themselves
    #[arg(value_name = "QUEUE")]
    pub(crate) queues: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct ShowDead {
    /// The consumer's queue
    pub(crate) queue: String,
    /// One of its dead letters: its id, or the beginning of it
    pub(crate) id: Option<String>,
    /// How many are looked at, at most. Default: 20, or 1000 to find one
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: Option<u32>,
    /// With headers and payload, which may be private: that is kept in the audit
    #[arg(long, requires_all = ["reason", "id"])]
    pub(crate) payload: bool,
    /// Why, as kept in the audit
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct RedriveDead {
    /// The consumer's queue
    pub(crate) queue: String,
    /// Why, as kept in the audit
    #[arg(long)]
    pub(crate) reason: String,
    /// How many a second, at most
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<NonZeroU32>,
    /// How many, at most. Never more than there were at the start, and none twice
    #[arg(long, value_name = "N")]
    pub(crate) max: Option<u32>,
    /// Stops after so many that could not be sent
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) stop_after_failures: u32,
    /// Sends also those that are older than what their consumer remembers, which it buries again, and those whose ids don't
    /// tell their time, whose effect may happen a second time
    #[arg(long)]
    pub(crate) forgotten: bool,
    /// How long the consumer remembers a message. Default: as its processes have announced, or 7 days
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) remember: Option<Duration>,
}

#[derive(Args, Debug)]
pub(crate) struct DiscardDead {
    /// The consumer's queue
    pub(crate) queue: String,
    /// The dead letters: their ids
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub(crate) ids: Vec<String>,
    /// All of them, as many as there are now
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    /// With --all: how many, at most; the first ones
    #[arg(long, value_name = "N", requires = "all")]
    pub(crate) max: Option<u32>,
    /// Why, as kept in the audit
    #[arg(long)]
    pub(crate) reason: String,
}
