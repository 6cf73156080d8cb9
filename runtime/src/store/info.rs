//! Messages as an operator sees them, and which of them are wanted.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use uuid::Uuid;

use super::serial;
use super::values::Holder;
use crate::message::state::MessageState;
use crate::message::{AnsweredBy, CallId, MessageId};

/// A message as an operator sees it. The payload and the headers are left out: they may be private.
///
/// Serialized, its times are texts as in RFC 3339, and durations numbers of seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MessageInfo {
    /// The message's id.
    pub id: MessageId,
    /// The id of the call that it belongs to.
    pub call_id: CallId,
    /// Where it stands.
    pub state: MessageState,
    /// The service whose processes deliver it: see [`MessengerBuilder::service`](crate::MessengerBuilder::service).
    pub service: String,
    /// The annotated function.
    pub function: String,
    /// Who can tell the outcome: `fence:<identity>`, `handler:<name>` or `nobody`.
    pub answered_by: String,
    /// The same with everything, as far as it can be read.
    #[serde(skip)]
    pub(crate) answerer: Option<AnsweredBy>,
    /// Where it is to be sent.
    pub exchange: String,
    /// Where it is to be sent.
    pub routing_key: String,
    /// The stable name of the payload's format.
    pub message_type: Option<String>,
    /// The payload's encoding.
    pub content_type: String,
    /// The payload's length, in bytes.
    pub payload_bytes: u64,
    /// The business key.
    pub business_key: Option<String>,
    /// Questions while half: those without a clear answer, and those that were asked alone after the process had
    /// died over them. Since then, deliveries tried.
    pub attempts: u32,
    /// How long ago it was stored, by the store's clock.
    #[serde(rename = "age_seconds", serialize_with = "serial::seconds")]
    pub age: Duration,
    /// When it was stored, by the store's clock, as all times here.
    #[serde(serialize_with = "serial::time")]
    pub created_at: SystemTime,
    /// When it is taken up next; of a held message, when its holder's lease lapses.
    #[serde(serialize_with = "serial::some_time")]
    pub due_at: Option<SystemTime>,
    /// Who holds it.
    pub held_by: Option<HeldBy>,
    /// How long after its holder vanished a handler may be asked. Zero for a fence.
    #[serde(rename = "check_after_seconds", serialize_with = "serial::seconds")]
    pub check_after: Duration,
    /// Not before when it is delivered: only of a message that was sent with a delay.
    #[serde(serialize_with = "serial::some_time")]
    pub deliver_at: Option<SystemTime>,
    /// When it expires.
    #[serde(serialize_with = "serial::some_time")]
    pub expires_at: Option<SystemTime>,
    /// When it was finished: cancelled, delivered or expired.
    #[serde(serialize_with = "serial::some_time")]
    pub finished_at: Option<SystemTime>,
    /// The last failure, or an operator's word.
    pub reason: Option<String>,
    /// When this was read.
    #[serde(serialize_with = "serial::time")]
    pub read_at: SystemTime,
}

/// Who holds a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HeldBy {
    /// The body of a function, or a delivery, of the process with this token: see
    /// [`ProcessInfo::token`](crate::ProcessInfo::token).
    Process(Uuid),
    /// A check-back that asks about it. The token is the question's own.
    Checker(Uuid),
}

impl HeldBy {
    pub(crate) fn of(token: Uuid) -> Self {
        match Holder::of(token) {
            Holder::Process => Self::Process(token),
            Holder::Checker => Self::Checker(token),
        }
    }

    pub(crate) const fn holder(self) -> Holder {
        match self {
            Self::Process(_) => Holder::Process,
            Self::Checker(_) => Holder::Checker,
        }
    }

    /// The token.
    pub const fn token(self) -> Uuid {
        match self {
            Self::Process(token) | Self::Checker(token) => token,
        }
    }
}

/// What was left out of [`MessageInfo`], since it may be private.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contents {
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The payload, encoded as `content_type` says.
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}

/// Which messages are wanted: those that meet all conditions. By default, all.
///
/// ```
/// use transactional_message::{Filter, MessageState};
///
/// let filter = Filter::default().state(MessageState::Dead).exchange("orders").reason("no route");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// In this state.
    pub state: Option<MessageState>,
    /// Of this service.
    pub service: Option<String>,
    /// Of this function: its whole path, or the end of it behind `::`.
    pub function: Option<String>,
    /// To this exchange.
    pub exchange: Option<String>,
    /// With this business key.
    pub business_key: Option<String>,
    /// Of this call.
    pub call_id: Option<CallId>,
    /// Of this type.
    pub message_type: Option<String>,
    /// With this text in the reason, in upper or lower case.
    pub reason: Option<String>,
    /// Answered by this: as [`MessageInfo::answered_by`] has it.
    pub answered_by: Option<String>,
    /// Stored at this time or later, by the sender's clock: that of the id.
    pub since: Option<SystemTime>,
    /// Stored before this time, by the sender's clock.
    pub until: Option<SystemTime>,
}

/// A method for each text, with its name.
macro_rules! texts {
    ($($name:ident: $what:literal,)*) => {
        impl Filter {
            $(
                #[doc = $what]
                #[must_use]
                pub fn $name(mut self, $name: impl Into<String>) -> Self {
                    self.$name = Some($name.into());
                    self
                }
            )*
        }
    };
}

texts! {
    service: "Of this service.",
    function: "Of this function: its whole path, or the end of it behind `::`.",
    exchange: "To this exchange.",
    business_key: "With this business key.",
    message_type: "Of this type.",
    reason: "With this text in the reason, in upper or lower case.",
    answered_by: "Answered by this: as [`MessageInfo::answered_by`] has it.",
}

impl Filter {
    /// In this state.
    #[must_use]
    pub const fn state(mut self, state: MessageState) -> Self {
        self.state = Some(state);
        self
    }

    /// Of this call.
    #[must_use]
    pub const fn call_id(mut self, id: CallId) -> Self {
        self.call_id = Some(id);
        self
    }

    /// Stored at this time or later, by the sender's clock.
    #[must_use]
    pub const fn since(mut self, time: SystemTime) -> Self {
        self.since = Some(time);
        self
    }

    /// Stored before this time, by the sender's clock.
    #[must_use]
    pub const fn until(mut self, time: SystemTime) -> Self {
        self.until = Some(time);
        self
    }
}

impl From<MessageState> for Filter {
    fn from(state: MessageState) -> Self {
        Self::default().state(state)
    }
}

/// What a search found so far, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Page {
    /// The messages.
    pub messages: Vec<MessageInfo>,
    /// Where to go on, if there may be more. A search looks at a bounded number of messages, so a page may be
    /// short, or empty, and others still follow.
    pub next: Option<MessageId>,
}
