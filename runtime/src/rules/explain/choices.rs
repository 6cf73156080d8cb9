//! What a person can do about a message.

use super::values::{Cause, Choice};
use crate::message::Evidence;
use crate::message::state::MessageState;

/// What can be done, the best first. Only what would not be refused: see `Admin`.
pub(super) fn choices(state: MessageState, because: Cause, evidence: Option<&Evidence>) -> Vec<Choice> {
    match (state, because) {
        (MessageState::Parked, _) => by_evidence(evidence),
        (_, Cause::NobodyAnswers) => vec![Choice::StartAnswerer],
        (_, Cause::NobodyDelivers) => vec![Choice::StartService],
        (MessageState::Dead, _)
        | (_, Cause::AskedInVain { .. } | Cause::DeliveryFailed { .. } | Cause::NotPublished) => {
            vec![Choice::Repair, Choice::Retry]
        }
        (_, Cause::Delayed) => vec![Choice::Nothing, Choice::Retry],
        _ => vec![Choice::Nothing],
    }
}

/// A fence has the last word. Where there is none, only a person can find out.
fn by_evidence(evidence: Option<&Evidence>) -> Vec<Choice> {
    match evidence {
        Some(Evidence::Committed { .. }) => vec![Choice::Confirm],
        Some(Evidence::Withheld | Evidence::Closed | Evidence::NoRow) => vec![Choice::Cancel],
        Some(Evidence::Unknown(_)) => vec![Choice::Repair],
        Some(Evidence::NoFence) | None => vec![Choice::FindOut, Choice::Confirm, Choice::Cancel],
    }
}
