//! The port to the message store: decisions about many messages, which are carried out one by one.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::audit::{Action, Actor};
use super::error::StoreError;
use super::serial;
use super::values::{Hold, Reason};
use crate::message::MessageId;

/// A decision about many messages, which are named beforehand. See [`Admin::order`](crate::Admin::order).
#[derive(Clone, Debug)]
pub struct Order {
    pub(crate) action: Action,
    pub(crate) reason: String,
    pub(crate) conditions: String,
    pub(crate) messages: Vec<MessageId>,
    pub(crate) begins_in: Duration,
    pub(crate) per_second: u32,
    pub(crate) look_for: Duration,
    pub(crate) stop_after_failures: u64,
}

impl Order {
    /// Decides so about these messages, in this order. Refused by `Admin::order` for anything but a confirmation, a
    /// cancellation and a retry.
    pub fn new(action: Action, messages: Vec<MessageId>, reason: impl Into<String>) -> Self {
        Self {
            action,
            reason: reason.into(),
            conditions: String::new(),
            messages,
            begins_in: Duration::from_secs(10),
            per_second: 50,
            look_for: Duration::from_secs(10),
            stop_after_failures: 10,
        }
    }

    /// How they were chosen, for people.
    #[must_use]
    pub fn conditions(mut self, conditions: impl Into<String>) -> Self {
        self.conditions = conditions.into();
        self
    }

    /// How long nothing is done yet, so that it can be stopped without a trace. Default: 10 s.
    #[must_use]
    pub const fn begins_in(mut self, delay: Duration) -> Self {
        self.begins_in = delay;
        self
    }

    /// How many messages a second, at most. Default: 50.
    #[must_use]
    pub const fn per_second(mut self, rate: u32) -> Self {
        self.per_second = rate;
        self
    }

    /// How long it waits after the first message, after 10 more, after 100 more and so on, before it looks whether what was
    /// retried or confirmed has failed again. Default: 10 s.
    #[must_use]
    pub const fn look_for(mut self, time: Duration) -> Self {
        self.look_for = time;
        self
    }

    /// It stops by itself after more failures than that: messages about which the decision was refused or could not be taken, and
    /// those that were tried in vain since. Default: 10.
    #[must_use]
    pub const fn stop_after_failures(mut self, failures: u64) -> Self {
        self.stop_after_failures = failures;
        self
    }
}

/// What is kept of an order besides its messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    /// The name of an [`Action`].
    pub(crate) action: String,
    pub(crate) reason: String,
    pub(crate) conditions: String,
    pub(crate) user: String,
    pub(crate) via: String,
    pub(crate) per_second: u32,
    pub(crate) look_for_millis: u64,
    pub(crate) stop_after_failures: u64,
}

impl About {
    /// As it is stored: in ASCII, which every database can hold.
    pub(crate) fn to_json(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        let mut text = String::with_capacity(json.len());
        for c in json.chars() {
            if c.is_ascii() {
                text.push(c);
            } else {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
        }
        text
    }

    pub(crate) fn new(order: &Order, actor: &Actor) -> Self {
        Self {
            action: order.action.name().to_owned(),
            reason: Reason::from(order.reason.as_str()).to_string(),
            conditions: Reason::from(order.conditions.as_str()).to_string(),
            user: actor.user.clone(),
            via: actor.via.clone(),
            per_second: order.per_second,
            look_for_millis: u64::try_from(order.look_for.as_millis()).unwrap_or(u64::MAX),
            stop_after_failures: order.stop_after_failures,
        }
    }
}

/// An order on its way to the store: with the id of the operation, and of the record that each decision will have.
#[derive(Clone, Debug)]
pub(crate) struct NewOperation {
    pub(crate) id: Uuid,
    pub(crate) about: String,
    pub(crate) begins_in: Duration,
    pub(crate) items: Vec<(MessageId, Uuid)>,
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Progress {
    /// Nothing was done yet, and can be stopped without a trace: it has not begun, or nobody has taken it up.
    Waiting,
    /// A process carries it out.
    Running,
    /// Whoever carried it out has stopped: another process takes it up, or [`Admin::carry_out`](crate::Admin::carry_out).
    Interrupted,
    /// Somebody stopped it, or it stopped by itself. What was done is done.
    Stopped,
    /// Done, as far as it was not refused.
    Done,
}

/// A decision about many messages, and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Operation {
    /// Its id, a UUID of version 7.
    pub id: Uuid,
    /// How far it is.
    pub progress: Progress,
    /// What is decided: the name of an [`Action`].
    pub action: String,
    /// Why.
    pub reason: String,
    /// How the messages were chosen.
    pub conditions: String,
    /// By whom.
    pub user: String,
    /// By what means: `console`, `cli`, `code`.
    pub via: String,
    /// How many messages it is about.
    pub messages: u64,
    /// About how many the decision was taken.
    pub done: u64,
    /// About how many it was refused: their state, or their fence.
    pub refused: u64,
    /// About how many it failed otherwise.
    pub failed: u64,
    /// How many of those were tried in vain since: they are dead, or wait for another attempt.
    pub failed_again: u64,
    /// How many messages a second, at most.
    pub per_second: u32,
    /// How long it waits before it looks how the first were received, and the next ten, and the next hundred.
    #[serde(rename = "look_for_seconds", serialize_with = "serial::seconds")]
    pub look_for: Duration,
    /// It stops by itself after more failures than that.
    pub stop_after_failures: u64,
    /// When it was ordered, by the store's clock.
    #[serde(serialize_with = "serial::time")]
    pub created_at: SystemTime,
    /// When it begins, or began.
    #[serde(serialize_with = "serial::time")]
    pub begins_at: SystemTime,
    /// When it ended.
    #[serde(serialize_with = "serial::some_time")]
    pub ended_at: Option<SystemTime>,
    /// By whom it was stopped, and why.
    pub stopped: Option<String>,
    /// How long it does not begin yet.
    #[serde(skip)]
    pub(crate) begins_in: Duration,
}

impl Operation {
    /// Of how many messages it is known what became of them.
    pub const fn decided(&self) -> u64 {
        self.done + self.refused + self.failed
    }

    /// Refused, failed and failed again.
    pub const fn failures(&self) -> u64 {
        self.refused + self.failed + self.failed_again
    }
}

/// What became of one message of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ItemOutcome {
    /// The decision was taken.
    Done,
    /// Its state, or its fence, forbids it.
    Refused,
    /// It could not be taken.
    Failed,
}

impl ItemOutcome {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Done, Self::Refused, Self::Failed].into_iter().find(|outcome| outcome.name() == name)
    }
}

/// One message of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OperationItem {
    /// Its place, from 1.
    pub position: u64,
    /// The message.
    #[serde(rename = "id")]
    pub message_id: MessageId,
    /// What became of it; none before.
    pub outcome: Option<ItemOutcome>,
    /// Why it was refused, or failed.
    pub why: Option<String>,
    /// Of the decision, in the audit.
    #[serde(skip)]
    pub(crate) record_id: Uuid,
}

/// The message store: decisions about many messages.
#[async_trait]
pub(crate) trait StoreOperations {
    /// Keeps an operation with all its items, both or none.
    async fn order(&self, operation: &NewOperation) -> Result<(), StoreError>;

    /// The newest operations, below `before` if given.
    async fn operations(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Operation>, StoreError>;

    /// One operation.
    async fn operation(&self, id: Uuid) -> Result<Option<Operation>, StoreError>;

    /// Those that have begun, are not over, and that nobody carries out.
    async fn due_operations(&self) -> Result<Vec<Uuid>, StoreError>;

    /// Makes an operation ours, or keeps it so. Says whether it is: it has begun, is not over, and nobody else's.
    async fn take_operation(&self, id: Uuid, hold: Hold) -> Result<bool, StoreError>;

    /// Items of an operation beyond a place; those without an outcome, or all.
    async fn items(
        &self,
        id: Uuid,
        beyond: u64,
        open: bool,
        limit: u32,
    ) -> Result<Vec<OperationItem>, StoreError>;

    /// Whether a decision has been taken, by the id of its record.
    async fn is_recorded(&self, record_id: Uuid) -> Result<bool, StoreError>;

    /// Notes what became of an item, unless that is known.
    async fn settle_item(
        &self,
        id: Uuid,
        position: u64,
        outcome: ItemOutcome,
        why: Option<&str>,
    ) -> Result<(), StoreError>;

    /// Ends an operation; with who stopped it and why, if it was stopped. Says whether it was open.
    async fn end_operation(&self, id: Uuid, stopped: Option<&str>) -> Result<bool, StoreError>;

    /// Deletes operations that ended longer ago, with their items; at most `limit`. Says how many.
    async fn prune_operations(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError>;

    /// Deletes records of the audit that are older; at most `limit`. Says how many.
    async fn prune_audit(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError>;

    /// Lets go of an operation that is ours, for somebody else to carry out.
    async fn leave_operation(&self, id: Uuid, hold: Hold) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_ascii_and_reads_the_same() {
        let order = Order::new(Action::Retry, Vec::new(), "已恢复 → 🦀 \"x\"\n");
        let about = About::new(&order, &Actor::new("ana", "test"));
        let json = about.to_json();
        assert!(json.is_ascii(), "{json}");
        assert_eq!(serde_json::from_str::<About>(&json).expect("reads"), about);
    }
}
