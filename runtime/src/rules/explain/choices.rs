//! What a person can do about a message.

use super::values::{Cause, Choice};
use crate::message::state::MessageState;
use crate::message::{AnsweredBy, Evidence};
use crate::store::MessageInfo;

/// What can be done, the best first. Only what would not be refused: see `Admin`.
pub(super) fn choices(message: &MessageInfo, because: Cause, evidence: Option<&Evidence>) -> Vec<Choice> {
    match (message.state, because) {
        (MessageState::Parked, _) => by_evidence(message, evidence),
        (_, Cause::NobodyAnswers) => vec![Choice::StartAnswerer],
        (_, Cause::NobodyDelivers) => vec![Choice::StartService],
        (_, Cause::Paused) => vec![Choice::Nothing, Choice::Resume],
        (MessageState::Dead, _)
        | (_, Cause::AskedInVain { .. } | Cause::DeliveryFailed { .. } | Cause::NotPublished) => {
            vec![Choice::Repair, Choice::Retry]
        }
        (_, Cause::Delayed) => vec![Choice::Nothing, Choice::Retry],
        _ => vec![Choice::Nothing],
    }
}

/// A fence has the last word. Where there is none, only a person can find out.
fn by_evidence(message: &MessageInfo, evidence: Option<&Evidence>) -> Vec<Choice> {
    match evidence {
        Some(Evidence::Committed { .. }) => vec![Choice::Confirm],
        Some(Evidence::Withheld | Evidence::Closed | Evidence::NoRow) => vec![Choice::Cancel],
        Some(Evidence::Unknown(_)) => vec![Choice::LookAtFence],
        None if matches!(message.answerer, Some(AnsweredBy::Fence(_))) => vec![Choice::LookAtFence],
        Some(Evidence::NoFence) | None => vec![Choice::FindOut, Choice::Confirm, Choice::Cancel],
    }
}
