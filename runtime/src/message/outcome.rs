//! The answer to a check-back.

use serde::Serialize;

/// The answer to a check-back: did the business action take effect?
///
/// RocketMQ, where half messages come from, says commit, rollback and unknown; confirm and cancel are TCC's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The business action took effect: the message is delivered.
    Confirm,
    /// The business action took no effect, **and never will**: the message is cancelled.
    Cancel,
    /// Nobody can say yet: the question is asked again later.
    Unknown,
}
