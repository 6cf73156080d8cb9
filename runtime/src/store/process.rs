//! The processes over a store, as they announce themselves.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::serial;

/// How often a process announces itself.
pub(crate) const ANNOUNCED_EVERY: Duration = Duration::from_secs(15);

/// How long after its last announcement a process is forgotten.
pub(crate) const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);

/// What a process says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// The token by which it holds messages.
    #[serde(skip_deserializing)]
    pub token: Uuid,
    /// The name of its host.
    pub host: String,
    /// The number of its process.
    pub pid: u32,
    /// The version of this crate in it.
    pub version: String,
    /// The services whose messages it takes up: its own first, then those it took over.
    pub services: Vec<String>,
    /// Whether it delivers: its setting `deliver`.
    pub delivers: bool,
    /// Whom it can ask about half messages: `fence:<identity>`, `handler:<name>`.
    pub answers: Vec<String>,
    /// Its fences, by name.
    pub fences: Vec<String>,
    /// The queues that it consumes.
    pub consumers: Vec<String>,
    /// Whether it knows pauses: a process of an older version goes on.
    #[serde(default)]
    pub obeys_pauses: bool,
    /// For how many seconds each of them remembers a message: its [`inbox_retention`](crate::Consumer::inbox_retention).
    #[serde(default)]
    pub remembers: BTreeMap<String, u64>,
    /// What carries its messages: `rabbitmq`, `in_process`.
    #[serde(default)]
    pub transport: String,
    /// The exchanges that it declares, and those that its queues are bound to.
    #[serde(default)]
    pub exchanges: Vec<String>,
    /// The file of its program, without the folder.
    #[serde(default)]
    pub program: String,
    /// The packages of its check-back handlers.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Its settings, by name.
    pub settings: BTreeMap<String, String>,
    /// When its messenger started, by the store's clock.
    #[serde(skip_deserializing, default = "epoch", serialize_with = "serial::time")]
    pub started_at: SystemTime,
    /// When it announced itself last, by the store's clock.
    #[serde(skip_deserializing, default = "epoch", serialize_with = "serial::time")]
    pub seen_at: SystemTime,
    /// How long ago that was.
    #[serde(skip_deserializing, rename = "silent_for_seconds", serialize_with = "serial::seconds")]
    pub silent_for: Duration,
}

const fn epoch() -> SystemTime {
    SystemTime::UNIX_EPOCH
}

impl ProcessInfo {
    /// This process, which can do nothing yet.
    pub(crate) fn this(token: Uuid) -> Self {
        Self {
            token,
            host: String::new(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            services: Vec::new(),
            delivers: false,
            answers: Vec::new(),
            fences: Vec::new(),
            consumers: Vec::new(),
            obeys_pauses: true,
            remembers: BTreeMap::new(),
            transport: String::new(),
            exchanges: Vec::new(),
            program: String::new(),
            packages: Vec::new(),
            settings: BTreeMap::new(),
            started_at: epoch(),
            seen_at: epoch(),
            silent_for: Duration::ZERO,
        }
    }

    /// As it is stored. What an older version does not say is empty.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether it announced itself lately: within three times the pause between two announcements.
    pub fn is_alive(&self) -> bool {
        self.silent_for <= ANNOUNCED_EVERY * 3
    }
}
