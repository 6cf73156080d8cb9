//! What the command line takes.

mod act;
pub(crate) mod dead;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Parser, Subcommand, ValueEnum};
use transactional_message::{CallId, Filter, MessageState};

use crate::output::{Format, TimeStyle};
pub(crate) use act::{Decide, Operations, Pause, Prune, Resume};

/// Looks at the messages of transactional-message, says why they wait, and takes the decisions of persons.
///
/// Exit codes: 0 done; 1 failed; 2 wrong usage; 3 partly done; 4 refused by a message's state or its fence; 5 not found;
/// 6 a check found something.
#[derive(Debug, Parser)]
#[command(name = "tm", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// The message store: postgres://…, mysql://… or sqlite://… From `TM_DATABASE_URL` or `DATABASE_URL` otherwise
    #[arg(short = 'D', long, value_name = "URL", global = true)]
    pub(crate) database_url: Option<String>,
    /// A business database whose fence answers for messages; can be given several times
    #[arg(long = "fence", value_name = "NAME=URL", global = true)]
    pub(crate) fences: Vec<String>,
    /// RabbitMQ: amqp://… or amqps://… Without a context, from `TM_AMQP_URL` or `AMQP_URL` otherwise
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) amqp_url: Option<String>,
    /// The prefix of the tables' names, where it is not `tm_`
    #[arg(long, value_name = "PREFIX", global = true)]
    pub(crate) table_prefix: Option<String>,
    /// The schema of the tables, where a connection does not find them by itself
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) schema: Option<String>,
    /// Takes what is not given here from this context of the configuration file
    #[arg(long, env = "TM_CONTEXT", value_name = "NAME", global = true)]
    pub(crate) context: Option<String>,
    /// Whether the context was named on the command line.
    #[arg(skip)]
    pub(crate) context_is_given: bool,
    /// The configuration file. Default: tm.toml here, or in the user's configuration directory
    #[arg(long, env = "TM_CONFIG", value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// How results are written
    #[arg(long, value_enum, default_value_t, global = true)]
    pub(crate) format: Format,
    /// Which columns a table or CSV has, by the names of the JSON's fields
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', global = true)]
    pub(crate) columns: Vec<String>,
    /// How a table writes times
    #[arg(long, value_enum, default_value_t, global = true)]
    pub(crate) time: TimeStyle,
    /// The language of explanations
    #[arg(long, value_enum, default_value_t, global = true)]
    pub(crate) language: Language,
    /// Asks no questions: what would need one fails
    #[arg(long, global = true)]
    pub(crate) no_input: bool,
    /// Answers every question with yes; in a production context only together with --context
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    /// Says what would be done, and does not do it
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
    /// In whose name decisions are kept. Default: the user of this system, at this host
    #[arg(long = "as", value_name = "USER", global = true)]
    pub(crate) acting: Option<String>,
    /// How long an answer may take: of a command, or of each message where it is about several
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration, global = true)]
    pub(crate) timeout: Duration,
}

/// Without URLs, which may have passwords.
impl fmt::Debug for Globals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Globals").field("context", &self.context).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    #[default]
    En,
    Zh,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Counts what is on its way and what waits for a person; for people, probes and cron
    Status(Status),
    /// Lists messages, the newest first
    List(List),
    /// Shows a message: where it stands and why, what its fence says, and what was decided about it
    Show(Show),
    /// Says why a message stands where it stands; without an id, why those in a state do
    Why(Why),
    /// Says what would happen to a message now, without doing it
    Ask(Ask),
    /// Writes what happens to messages, as it happens
    Tail(Tail),
    /// Delivers parked messages: their business action took effect
    Confirm(Decide),
    /// Removes parked messages: their business action took no effect
    Cancel(Decide),
    /// Tries dead messages again, or at once those that wait for their next attempt
    Retry(Decide),
    /// Decisions about many messages: lists, shows, stops them, or goes on with them
    #[command(subcommand)]
    Operations(Operations),
    /// Pauses deliveries, a consumer or check-backs in all processes, for some time
    Pause(Pause),
    /// Ends a pause
    Resume(Resume),
    /// Sees to RabbitMQ's dead letters: what consumers could not handle
    Dead(dead::Dead),
    /// Writes all messages that meet the conditions
    Export(Export),
    /// Lists what persons decided, and what they looked at
    Audit(Audit),
    /// Lists the processes over the store: what they answer, deliver and consume
    Processes,
    /// Looks for what is wrong around the messages, and says what to do; ends with 6 if something is
    Doctor(Doctor),
    /// Brings the tables up to this version
    Migrate(Migrate),
    /// Deletes messages that have been finished for long, sooner than the processes do
    Prune(Prune),
    /// Writes the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Writes the manual page
    Man,
}

#[derive(Args, Debug)]
pub(crate) struct Migrate {
    /// Changes nothing, and fails with 6 if the tables are not up to date
    #[arg(long, conflicts_with = "sql")]
    pub(crate) check: bool,
    /// Writes the statements, for somebody else to run; connects to nothing
    #[arg(long)]
    pub(crate) sql: bool,
    /// Of which tables: those of the message store, of a business database, or of a consumer's
    #[arg(long, value_enum, default_value_t, requires = "sql")]
    pub(crate) part: Part,
}

/// Tables that may be in databases of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    #[default]
    Message,
    Fence,
    Inbox,
}

#[derive(Args, Debug)]
pub(crate) struct Status {
    /// Again and again, with this pause: 100ms at least
    #[arg(long, value_name = "PAUSE", value_parser = pause)]
    pub(crate) watch: Option<Duration>,
    /// Fails with 6 if one of these holds: parked, dead, lag=DURATION
    #[arg(long, value_name = "CONDITION,…", value_delimiter = ',')]
    pub(crate) fail_on: Vec<Condition>,
}

/// Something that a probe wants to know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Parked,
    Dead,
    Lag(Duration),
}

impl std::str::FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("lag=")) {
            ("parked", _) => Ok(Self::Parked),
            ("dead", _) => Ok(Self::Dead),
            (_, Some(lag)) => {
                humantime::parse_duration(lag).map(Self::Lag).map_err(|error| format!("`{lag}`: {error}"))
            }
            _ => Err("parked, dead, or lag=DURATION, as in lag=60s".into()),
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) conditions: Conditions,
    /// How many at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
    /// Goes on below this message
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<transactional_message::MessageId>,
}

#[derive(Args, Debug)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) conditions: Conditions,
    /// With headers and payloads, which may be private: that is kept in the audit
    #[arg(long, requires = "reason")]
    pub(crate) payload: bool,
    /// Why, as kept in the audit
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

/// Which messages.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Conditions")]
pub(crate) struct Conditions {
    /// In this state
    #[arg(long, value_enum)]
    pub(crate) state: Option<State>,
    /// Of this service
    #[arg(long)]
    service: Option<String>,
    /// Of this function: its whole path, or the end of it
    #[arg(long)]
    function: Option<String>,
    /// To this exchange
    #[arg(long)]
    exchange: Option<String>,
    /// With this business key
    #[arg(long)]
    key: Option<String>,
    /// Of this call
    #[arg(long, value_name = "ID")]
    call: Option<CallId>,
    /// Of this type
    #[arg(long = "type", value_name = "TYPE")]
    message_type: Option<String>,
    /// With this text in the reason
    #[arg(long = "because", value_name = "TEXT")]
    because: Option<String>,
    /// Answered by this: fence:IDENTITY, handler:NAME or nobody
    #[arg(long, value_name = "WHO")]
    answered_by: Option<String>,
    /// Stored at this time or later: a time as in RFC 3339, or how long ago, as in 2h
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<SystemTime>,
    /// Stored before this time, or longer ago than this
    #[arg(long, visible_alias = "older-than", value_name = "TIME", value_parser = time)]
    until: Option<SystemTime>,
}

impl Conditions {
    /// Whether nothing is asked for but a state.
    pub(crate) fn are_none(&self) -> bool {
        let mut filter = self.clone().filter();
        filter.state = None;
        filter == Filter::default()
    }

    pub(crate) fn filter(self) -> Filter {
        let mut filter = Filter::default();
        filter.state = self.state.map(Into::into);
        filter.service = self.service;
        filter.function = self.function;
        filter.exchange = self.exchange;
        filter.business_key = self.key;
        filter.call_id = self.call;
        filter.message_type = self.message_type;
        filter.reason = self.because;
        filter.answered_by = self.answered_by;
        filter.since = self.since;
        filter.until = self.until;
        filter
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    Half,
    Confirmed,
    Cancelled,
    Delivered,
    Parked,
    Dead,
    Expired,
}

impl From<State> for MessageState {
    fn from(state: State) -> Self {
        match state {
            State::Half => Self::Half,
            State::Confirmed => Self::Confirmed,
            State::Cancelled => Self::Cancelled,
            State::Delivered => Self::Delivered,
            State::Parked => Self::Parked,
            State::Dead => Self::Dead,
            State::Expired => Self::Expired,
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct One {
    /// The message: its id, the id of its call, or the beginning of one
    pub(crate) id: String,
}

#[derive(Args, Debug)]
pub(crate) struct Ask {
    #[command(flatten)]
    pub(crate) one: One,
    /// Has a process ask now, instead of when it is due
    #[arg(long, requires = "reason")]
    pub(crate) apply: bool,
    /// Why, as kept in the audit
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Tail {
    /// How often it looks
    #[arg(long, value_name = "PAUSE", default_value = "1s", value_parser = pause)]
    pub(crate) every: Duration,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
}

#[derive(Args, Debug)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) one: One,
    /// With headers and payload, which may be private: that is kept in the audit
    #[arg(long, requires = "reason")]
    pub(crate) payload: bool,
    /// Why, as kept in the audit
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Why {
    /// The message: its id, the id of its call, or the beginning of one
    #[arg(required_unless_present = "state")]
    pub(crate) id: Option<String>,
    /// Counts those in this state by cause
    #[arg(long, value_enum, conflicts_with = "id")]
    pub(crate) state: Option<State>,
}

#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// Leaves out what has this text in it; can be given several times
    #[arg(long, value_name = "TEXT")]
    pub(crate) ignore: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Audit {
    /// About this message
    #[arg(long, value_name = "ID")]
    pub(crate) message: Option<transactional_message::MessageId>,
    /// By this user
    #[arg(long = "by", value_name = "USER")]
    pub(crate) user: Option<String>,
    /// At this time or later: a time as in RFC 3339, or how long ago, as in 2h
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) since: Option<SystemTime>,
    /// How many at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
}

/// A time, or how long ago it was.
fn time(text: &str) -> Result<SystemTime, String> {
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        return Ok(time);
    }
    let ago = humantime::parse_duration(text)
        .map_err(|_| "a time as in 2026-01-31T12:00:00Z, or how long ago, as in 2h or 3days".to_owned())?;
    SystemTime::now().checked_sub(ago).ok_or_else(|| "so long ago there was no time".to_owned())
}

fn pause(text: &str) -> Result<Duration, String> {
    let pause = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if pause < Duration::from_millis(100) { Err("100ms at least".into()) } else { Ok(pause) }
}
