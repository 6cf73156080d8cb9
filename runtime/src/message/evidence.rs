//! What a fence says about a call, as a person is shown it.

use std::fmt;

use serde::Serialize;

/// What the fence of a call says. Read without a lock, and without writing anything: see
/// [`Admin::evidence`](crate::Admin::evidence).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Evidence {
    /// The business transaction committed.
    Committed {
        /// It replaced the payload.
        amended: bool,
    },
    /// The business transaction committed, and said that there is nothing to send.
    Withheld,
    /// A check-back has closed the call: its transaction did not commit, and never will.
    Closed,
    /// There is no row: the transaction did not commit, or is open still.
    NoRow,
    /// The fence could not be read, and why.
    Unknown(String),
    /// No fence answers for the message.
    NoFence,
}

impl Evidence {
    /// The word for it, as in listings and in the audit.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Committed { .. } => "committed",
            Self::Withheld => "withheld",
            Self::Closed => "closed",
            Self::NoRow => "no row",
            Self::Unknown(_) => "unknown",
            Self::NoFence => "no fence",
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Committed { amended: false } => {
                f.write_str("the fence says: committed; the business action took effect")
            }
            Self::Committed { amended: true } => f.write_str(
                "the fence says: committed, with another payload; the business action took effect",
            ),
            Self::Withheld => f.write_str("the fence says: withheld; there is nothing to send"),
            Self::Closed => f.write_str("the fence says: closed; the business action never takes effect"),
            Self::NoRow => {
                f.write_str("the fence has no row: the business transaction did not commit, or is open still")
            }
            Self::Unknown(why) => write!(f, "the fence gives no answer: {why}"),
            Self::NoFence => f.write_str("no fence answers for it"),
        }
    }
}
