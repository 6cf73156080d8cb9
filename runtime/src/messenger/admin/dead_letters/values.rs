//! What is asked of dead letters, and what is answered.

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::broker::rabbitmq::Letter;
use crate::store::serial;

/// A dead letter, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its AMQP `message_id`, if it has one: of a message of ours, its id.
    pub id: Option<String>,
    /// The consumer's queue.
    pub queue: String,
    /// Why it is dead.
    pub reason: String,
    /// How often its handler was tried, if that is noted.
    pub attempts: Option<u64>,
    /// Where it was sent.
    pub exchange: String,
    /// Where it was sent.
    pub routing_key: String,
    /// Its type.
    pub message_type: Option<String>,
    /// The MIME type of its payload.
    pub content_type: String,
    /// Its business key.
    pub business_key: Option<String>,
    /// When it was sent, or fell due, by its id. Ids that others have made may not tell.
    #[serde(serialize_with = "serial::some_time")]
    pub sent_at: Option<SystemTime>,
    /// How large its payload is.
    pub payload_bytes: usize,
    /// How often it was sent to its consumer again, and came back.
    pub redriven: u64,
    /// How often it was handed out and given back, as by those who look at it.
    pub handed_out: u64,
}

impl DeadLetter {
    pub(super) fn of(queue: &str, letter: &Letter) -> Self {
        let message = letter.message();
        Self {
            id: letter.message_id(),
            queue: queue.to_owned(),
            reason: letter.reason(),
            attempts: letter.attempts(),
            exchange: message.exchange,
            routing_key: message.routing_key,
            message_type: message.message_type,
            content_type: message.content_type,
            business_key: message.business_key,
            sent_at: letter.begun_at(),
            payload_bytes: message.payload.len(),
            redriven: letter.redriven(),
            handed_out: letter.handed_out(),
        }
    }
}

/// How dead letters are sent to their consumer again. See [`DeadLetters::redrive`](super::DeadLetters::redrive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redrive {
    pub(super) rate: Option<NonZeroU32>,
    pub(super) most: Option<u32>,
    pub(super) failures: u32,
    pub(super) forgotten: bool,
    pub(super) remember: Option<Duration>,
}

impl Default for Redrive {
    fn default() -> Self {
        Self { rate: None, most: None, failures: 10, forgotten: false, remember: None }
    }
}

impl Redrive {
    /// How many a second at most. Default: as many as can be.
    #[must_use]
    pub const fn rate(mut self, per_second: NonZeroU32) -> Self {
        self.rate = Some(per_second);
        self
    }

    /// How many at most. Never more are looked at than there were at the start, and none is sent twice: what fails again and
    /// comes back is not sent round and round.
    #[must_use]
    pub const fn max(mut self, most: u32) -> Self {
        self.most = Some(most);
        self
    }

    /// After how many that could not be sent it stops. Default: 10.
    #[must_use]
    pub const fn stop_after_failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// Sends also those that are older than what their consumer remembers, and those whose ids don't tell. The consumer handles
    /// the latter, perhaps for the second time. It buries again what is older than its
    /// [`inbox_retention`](crate::Consumer::inbox_retention), or than anything that its inbox has forgotten already.
    #[must_use]
    pub const fn forgotten(mut self, forgotten: bool) -> Self {
        self.forgotten = forgotten;
        self
    }

    /// How long the consumer remembers a message. Default: what its processes have announced, or else 7 days.
    #[must_use]
    pub const fn remember(mut self, retention: Duration) -> Self {
        self.remember = Some(retention);
        self
    }
}

/// What a redrive would find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RedrivePreview {
    /// How many dead letters there are.
    pub depth: u32,
    /// How many of them were looked at: the first 1000.
    pub looked_at: u32,
    /// Of these, how many would be sent.
    pub would_send: u32,
    /// How many are older than what their consumer remembers.
    pub too_old: u32,
    /// How many have ids that don't tell how old they are.
    pub timeless: u32,
    /// How long the consumer remembers a message.
    #[serde(rename = "remembered_for_seconds", serialize_with = "serial::seconds")]
    pub remembered_for: Duration,
    /// Whether that was said, or announced by a process: otherwise it is the default.
    pub remembered_for_is_known: bool,
}

/// What became of one dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Redriven {
    /// It is in its consumer's queue again.
    Sent,
    /// Left where it is: older than what its consumer remembers.
    TooOld,
    /// Left where it is: its id does not tell how old it is.
    Timeless,
    /// Left where it is: this redrive has sent it already, and it is dead again, or there were two copies.
    Repeated,
    /// Left where it is: it could not be sent, and why.
    Failed(String),
}

/// How a redrive ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RedriveSummary {
    /// How many were sent.
    pub redriven: u32,
    /// How many were left for being too old.
    pub too_old: u32,
    /// How many were left because their ids don't tell how old they are.
    pub timeless: u32,
    /// How many had been sent in the same redrive: they failed again, or there were two copies.
    pub repeated: u32,
    /// How many could not be sent.
    pub failed: u32,
    /// Why it ended before all were seen.
    pub stopped: Option<String>,
}

/// Which dead letters are removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discard {
    /// The first one with each of these ids.
    Ids(Vec<String>),
    /// The first ones, so many at most.
    First(u32),
}

/// How a discard ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiscardSummary {
    /// How many were removed.
    pub discarded: u32,
    /// The ids that are not there, among the first 10 000. Empty if it stopped: the rest was not looked for.
    pub not_found: Vec<String>,
    /// Why it ended before all were seen.
    pub stopped: Option<String>,
}
