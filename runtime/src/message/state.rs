//! The state machine of a message: pure, and the only place where a legal move is written down.
//!
//! The stores build the condition of every `UPDATE` from [`Event::sources`], so that what is
//! drawn here is what the databases enforce.
//!
//! ```text
//! Half ──► Confirmed ──► Delivered
//!  │ │         ▲ │ ▲ │       ▲ ▲
//!  │ └► Parked ┘ └►Dead ─────┘ │    Parked, Dead: wait for an operator
//!  │                 └─► Expired    late: not delivered, or acknowledged after all
//!  └──► Cancelled ─► Confirmed      late `Ok` of the body itself
//! ```

use std::fmt;

use serde::Serialize;

use crate::fault;

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MessageState {
    /// Stored, not deliverable, outcome undecided.
    Half,
    /// The business action took effect: to be delivered.
    Confirmed,
    /// The business action took no effect: never delivered.
    Cancelled,
    /// Acknowledged by the transport.
    Delivered,
    /// A half message that nobody could answer for: waits for an operator.
    Parked,
    /// A confirmed message that could not be delivered: waits for an operator.
    Dead,
    /// A confirmed message of which nobody knows that it was delivered before it expired: not delivered any more.
    Expired,
}

impl MessageState {
    /// All states, in the order of their codes.
    pub const ALL: [Self; 7] = [
        Self::Half,
        Self::Confirmed,
        Self::Cancelled,
        Self::Delivered,
        Self::Parked,
        Self::Dead,
        Self::Expired,
    ];

    /// The number that stands for the state in the database.
    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::Half => 0,
            Self::Confirmed => 1,
            Self::Cancelled => 2,
            Self::Delivered => 3,
            Self::Parked => 4,
            Self::Dead => 5,
            Self::Expired => 6,
        }
    }

    pub(crate) fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    /// The state's name in lower case, as in metrics and listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Half => "half",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
            Self::Delivered => "delivered",
            Self::Parked => "parked",
            Self::Dead => "dead",
            Self::Expired => "expired",
        }
    }

    /// Nothing more happens to the message by itself, and nobody waits for it.
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Cancelled | Self::Delivered | Self::Expired)
    }
}

impl fmt::Display for MessageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// States as a set of bits, bit *n* for the state with code *n*.
pub(crate) fn mask(states: &[MessageState]) -> i64 {
    if fault::bug("unconditional") {
        return -1;
    }
    states.iter().map(|state| 1 << state.code()).sum()
}

/// What can happen to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// The body ended with `Ok` (fenced: and its commit is proven). Outranks a check-back's Cancel.
    BodyConfirms,
    /// The body ended with `Err` (handler), withheld, never ran, or its fence is closed.
    CancelFinal,
    /// A check-back was answered with Confirm.
    CheckBackConfirms,
    /// A check-back was answered with Cancel, and the asker still holds the row.
    CancelIfHeld,
    /// No answer is to be had.
    Park,
    /// A person decided a parked message.
    OperatorConfirms,
    /// A person decided a parked message.
    OperatorCancels,
    /// The transport acknowledged the message, perhaps late.
    Acknowledged,
    /// The delivery attempts are used up.
    GiveUp,
    /// It was not delivered in time.
    Expire,
    /// A person wants a dead message delivered after all.
    Revive,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// The message moved.
    Moved,
    /// It had happened before: nothing to do.
    Already,
    /// The state does not allow it, or somebody else holds the row.
    Conflict(MessageState),
    /// The store does not know the message.
    Missing,
}

impl Event {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 11] = [
        Self::BodyConfirms,
        Self::CancelFinal,
        Self::CheckBackConfirms,
        Self::CancelIfHeld,
        Self::Park,
        Self::OperatorConfirms,
        Self::OperatorCancels,
        Self::Acknowledged,
        Self::GiveUp,
        Self::Expire,
        Self::Revive,
    ];

    /// The states in which the event moves a message.
    pub(crate) const fn sources(self) -> &'static [MessageState] {
        match self {
            Self::BodyConfirms => &[MessageState::Half, MessageState::Cancelled, MessageState::Parked],
            Self::CancelFinal | Self::CheckBackConfirms | Self::CancelIfHeld | Self::Park => {
                &[MessageState::Half]
            }
            Self::OperatorConfirms | Self::OperatorCancels => &[MessageState::Parked],
            Self::Acknowledged => &[MessageState::Confirmed, MessageState::Dead, MessageState::Expired],
            Self::GiveUp | Self::Expire => &[MessageState::Confirmed],
            Self::Revive => &[MessageState::Dead],
        }
    }

    /// The state to which it moves the message.
    pub(crate) const fn target(self) -> MessageState {
        match self {
            Self::BodyConfirms | Self::CheckBackConfirms | Self::OperatorConfirms | Self::Revive => {
                MessageState::Confirmed
            }
            Self::CancelFinal | Self::CancelIfHeld | Self::OperatorCancels => MessageState::Cancelled,
            Self::Park => MessageState::Parked,
            Self::Acknowledged => MessageState::Delivered,
            Self::GiveUp => MessageState::Dead,
            Self::Expire => MessageState::Expired,
        }
    }

    /// Whether it says how a delivery ended.
    pub(crate) const fn ends_a_delivery(self) -> bool {
        matches!(self, Self::Acknowledged | Self::GiveUp | Self::Expire)
    }

    /// The states from which the move need not be on disk when it is reported. Should the database
    /// forget it in a crash, it is found again: a half is asked about, and a confirmed message is
    /// delivered once more.
    pub(crate) const fn relaxed_sources(self) -> &'static [MessageState] {
        match self {
            Self::BodyConfirms | Self::CheckBackConfirms => &[MessageState::Half],
            Self::Acknowledged => &[MessageState::Confirmed],
            _ => &[],
        }
    }

    /// What the event means for a message in `state`, when it did not move it.
    pub(crate) const fn verdict(self, state: MessageState) -> Applied {
        let already = match self.target() {
            // What was confirmed once stays confirmed, however far it got since.
            MessageState::Confirmed => {
                matches!(
                    state,
                    MessageState::Confirmed
                        | MessageState::Delivered
                        | MessageState::Dead
                        | MessageState::Expired
                )
            }
            MessageState::Cancelled => matches!(state, MessageState::Cancelled),
            MessageState::Delivered => matches!(state, MessageState::Delivered),
            MessageState::Parked => matches!(state, MessageState::Parked),
            MessageState::Dead => matches!(state, MessageState::Dead),
            MessageState::Expired => matches!(state, MessageState::Expired),
            MessageState::Half => false,
        };
        if already { Applied::Already } else { Applied::Conflict(state) }
    }

    /// The transition function, as the model explores it.
    #[cfg(test)]
    pub(crate) fn apply(self, state: MessageState) -> Result<MessageState, Applied> {
        if self.sources().contains(&state) { Ok(self.target()) } else { Err(self.verdict(state)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_a_bijection() {
        for state in MessageState::ALL {
            assert_eq!(MessageState::from_code(state.code()), Some(state));
        }
        assert_eq!(MessageState::from_code(7), None);
    }

    /// Every arrow of the diagram, and no other.
    #[test]
    fn arrows() {
        let mut arrows: Vec<(MessageState, MessageState)> = Vec::new();
        for event in Event::ALL {
            for state in MessageState::ALL {
                if let Ok(target) = event.apply(state)
                    && !arrows.contains(&(state, target))
                {
                    arrows.push((state, target));
                }
            }
        }
        arrows.sort();
        let mut drawn = [
            (MessageState::Half, MessageState::Confirmed),
            (MessageState::Half, MessageState::Cancelled),
            (MessageState::Half, MessageState::Parked),
            (MessageState::Cancelled, MessageState::Confirmed),
            (MessageState::Parked, MessageState::Confirmed),
            (MessageState::Parked, MessageState::Cancelled),
            (MessageState::Confirmed, MessageState::Delivered),
            (MessageState::Confirmed, MessageState::Dead),
            (MessageState::Confirmed, MessageState::Expired),
            (MessageState::Expired, MessageState::Delivered),
            (MessageState::Dead, MessageState::Confirmed),
            (MessageState::Dead, MessageState::Delivered),
        ];
        drawn.sort();
        assert_eq!(arrows, drawn);
    }

    #[test]
    fn deciding_twice_is_no_conflict_and_deciding_otherwise_is_one() {
        assert_eq!(Event::BodyConfirms.apply(MessageState::Delivered), Err(Applied::Already));
        assert_eq!(Event::CancelFinal.apply(MessageState::Cancelled), Err(Applied::Already));
        assert_eq!(
            Event::CancelIfHeld.apply(MessageState::Confirmed),
            Err(Applied::Conflict(MessageState::Confirmed))
        );
        assert_eq!(
            Event::OperatorConfirms.apply(MessageState::Half),
            Err(Applied::Conflict(MessageState::Half))
        );
    }
}
