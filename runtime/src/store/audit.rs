//! What a person decides about a message, and what is kept of it.

use std::fmt;
use std::time::SystemTime;

use serde::Serialize;
use uuid::Uuid;

use super::serial;
use super::values::Reason;
use crate::message::MessageId;
use crate::message::state::Event;

/// What a person did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Confirmed a parked message.
    Confirm,
    /// Cancelled a parked message.
    Cancel,
    /// Had a message tried again.
    Retry,
    /// Looked at its payload.
    View,
    /// Sent it from RabbitMQ's dead letters to its consumer again.
    Redrive,
    /// Removed it from RabbitMQ's dead letters.
    Discard,
    /// Paused something.
    Pause,
    /// Ended a pause.
    Resume,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Confirm,
        Self::Cancel,
        Self::Retry,
        Self::View,
        Self::Redrive,
        Self::Discard,
        Self::Pause,
        Self::Resume,
    ];

    /// What it does to the message.
    pub(crate) const fn event(self) -> Option<Event> {
        match self {
            Self::Confirm => Some(Event::OperatorConfirms),
            Self::Cancel => Some(Event::OperatorCancels),
            Self::Retry => Some(Event::Revive),
            Self::View | Self::Redrive | Self::Discard | Self::Pause | Self::Resume => None,
        }
    }

    /// Its name, as in the audit.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Confirm => "confirm",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::View => "view",
            Self::Redrive => "redrive",
            Self::Discard => "discard",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who decides, and by what means: kept with each decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    pub(crate) user: String,
    pub(crate) via: String,
}

impl Actor {
    /// Somebody (a name, or `name@host`), and what they use: `console`, `cli`, `code`.
    pub fn new(user: impl fmt::Display, via: impl fmt::Display) -> Self {
        Self {
            user: Reason::from(user.to_string()).to_string(),
            via: Reason::from(via.to_string()).to_string(),
        }
    }
}

/// A decision on its way to the store.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    pub(crate) id: MessageId,
    pub(crate) action: Action,
    /// Replaces the payload: what a fenced transaction amended.
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) entry: Entry,
}

impl Decision {
    /// About something that is no message, which the entry names.
    pub(crate) const fn of(action: Action, entry: Entry) -> Self {
        Self { id: MessageId::from_uuid(Uuid::nil()), action, payload: None, entry }
    }

    /// What the message's row says of it. Nothing of a half or confirmed message, whose last failure stays.
    pub(crate) fn note(&self) -> Option<String> {
        let done = match self.action {
            Action::Confirm => "confirmed",
            Action::Cancel => "cancelled",
            Action::Retry => "retried",
            Action::View | Action::Redrive | Action::Discard | Action::Pause | Action::Resume => return None,
        };
        let reason = self.entry.reason.as_deref().unwrap_or_default();
        Some(Reason::from(format!("{done} by hand: {reason}")).to_string())
    }

    /// The same with plainer texts, which the database may be able to hold; see [`Reason::simplify`].
    pub(crate) fn simplify(&mut self) -> bool {
        let Entry { actor, reason, evidence, .. } = &mut self.entry;
        let is_plain = actor.user.is_ascii() && actor.via.is_ascii();
        for text in [&mut actor.user, &mut actor.via] {
            *text = text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
        }
        Reason::simplify([reason, evidence].into_iter()) || !is_plain
    }
}

/// What is kept of it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: Uuid,
    pub(crate) actor: Actor,
    /// What it is about besides the message, or instead of one.
    pub(crate) subject: Option<String>,
    pub(crate) reason: Option<Reason>,
    pub(crate) evidence: Option<Reason>,
}

impl Entry {
    pub(crate) fn new(actor: Actor, reason: &str, evidence: Option<String>) -> Self {
        let (reason, evidence) = (Some(reason.into()), evidence.map(Reason::from));
        Self { id: Uuid::now_v7(), actor, subject: None, reason, evidence }
    }

    /// About something that is no message.
    pub(crate) fn about(mut self, subject: impl fmt::Display) -> Self {
        self.subject = Some(Reason::from(subject.to_string()).to_string());
        self
    }
}

/// What was decided, by whom, and why: written in the same transaction as the decision, and never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AuditRecord {
    /// Its own id, a UUID of version 7.
    pub id: Uuid,
    /// When, by the store's clock.
    #[serde(serialize_with = "serial::time")]
    pub at: SystemTime,
    /// The message, if it is about one.
    pub message_id: Option<MessageId>,
    /// What else it is about: `operation:` and its id, if the decision was part of one; or, without a message, what was paused.
    pub subject: Option<String>,
    /// What was done: the name of an [`Action`].
    pub action: String,
    /// Who did it.
    pub user: String,
    /// By what means: `console`, `cli`, `code`.
    pub via: String,
    /// Why.
    pub reason: String,
    /// What the fence said at that moment; of a dead letter, which queue's it was, and why it was dead.
    pub evidence: Option<String>,
}

/// Which records are wanted; all by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditFilter {
    /// About this message.
    pub message_id: Option<MessageId>,
    /// By this user.
    pub user: Option<String>,
    /// Not before this time.
    pub since: Option<SystemTime>,
    /// Below this record: continues a list.
    pub before: Option<Uuid>,
}

impl AuditFilter {
    /// About this message.
    #[must_use]
    pub const fn message(mut self, id: MessageId) -> Self {
        self.message_id = Some(id);
        self
    }

    /// By this user.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Not before this time.
    #[must_use]
    pub const fn since(mut self, time: SystemTime) -> Self {
        self.since = Some(time);
        self
    }

    /// Below this record: continues a list.
    #[must_use]
    pub const fn before(mut self, id: Uuid) -> Self {
        self.before = Some(id);
        self
    }
}
