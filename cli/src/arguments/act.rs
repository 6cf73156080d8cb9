//! What the commands take that change something other than single messages.

use std::time::Duration;

use clap::Args;
use transactional_message::Pausable;

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
