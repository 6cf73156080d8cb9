//! What went wrong with a message.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::serial;
use crate::message::state::MessageState;

/// Something that went wrong with a message, or was put right. Kept with the message, the newest of them: about 4000 characters. A
/// message with which nothing went wrong has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// When, by the store's clock.
    #[serde(serialize_with = "serial::time")]
    pub at: SystemTime,
    /// In which state the message was left.
    pub state: MessageState,
    /// Why. Cut after 400 characters: the last one is in [`MessageInfo::reason`](crate::MessageInfo::reason) as it was.
    pub reason: String,
}

/// As it is stored, a line for each.
#[derive(Deserialize)]
struct Line {
    at: u64,
    state: i64,
    reason: String,
}

/// Reads what is stored. The first line may be cut, and is left out then.
pub(crate) fn read_history(text: &str) -> Vec<HistoryEntry> {
    let read = |line: &str| {
        let Line { at, state, reason } = serde_json::from_str(line).ok()?;
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(at))?;
        Some(HistoryEntry { at, state: MessageState::from_code(state)?, reason })
    };
    text.lines().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_is_left_out() {
        let text = "17,\"state\":1,\"reason\":\"a\"}\n{\"at\":1700000000000,\"state\":5,\"reason\":\"b\\n\\\"c\\\"\"}";
        let entries = read_history(text);
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].state, entries[0].reason.as_str()), (MessageState::Dead, "b\n\"c\""));
        assert!(read_history("").is_empty());
    }
}
