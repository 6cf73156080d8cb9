//! The port to the message store: what persons order, and processes obey.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde::Serialize;

use super::audit::Decision;
use super::error::StoreError;
use super::serial;
use crate::message::Pausable;

/// Something that is paused now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Pause {
    /// What is paused.
    pub what: Pausable,
    /// Why.
    pub reason: String,
    /// By whom.
    pub user: String,
    /// By what means: `console`, `cli`, `code`.
    pub via: String,
    /// Since when, by the store's clock.
    #[serde(serialize_with = "serial::time")]
    pub began_at: SystemTime,
    /// When it ends by itself, by the store's clock.
    #[serde(serialize_with = "serial::time")]
    pub ends_at: SystemTime,
    /// How long that was away when it was read.
    #[serde(rename = "remaining_seconds", serialize_with = "serial::seconds")]
    pub remaining: Duration,
}

impl Pause {
    /// Whether nobody is asked while it lasts.
    #[must_use]
    pub const fn stops_check_backs(&self) -> bool {
        matches!(self.what, Pausable::All | Pausable::CheckBacks)
    }
}

/// The message store: what persons order.
#[async_trait]
pub(crate) trait StoreControl {
    /// What is paused now.
    async fn pauses(&self) -> Result<Vec<Pause>, StoreError>;

    /// Pauses something for so long from now, whether it is paused already or not, and keeps a record of that: both or none.
    async fn pause(&self, what: &Pausable, lasts: Duration, decision: &Decision) -> Result<(), StoreError>;

    /// Ends a pause, and keeps a record of that. Says whether there was one.
    async fn resume(&self, what: &Pausable, decision: &Decision) -> Result<bool, StoreError>;

    /// Makes confirmed messages due that nobody holds and whose reason begins so; at most `limit`, and none before its delay is
    /// over. Says how many.
    async fn wake(&self, mark: &str, limit: u32) -> Result<u64, StoreError>;
}
