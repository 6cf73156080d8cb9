//! What a fence answers, and what that means for the message.

use crate::message::state::Event;
use crate::message::{Evidence, Outcome};
use crate::sql::FenceRow;

/// The fence's answer for one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The business transaction committed. The payload is there when the call amended it.
    Committed { amended: Option<Vec<u8>> },
    /// The business transaction committed, and said that there is nothing to send.
    Withheld,
    /// The tombstone is in place: the business transaction did not commit, and never will.
    Closed,
    /// No answer now, and why.
    Unknown(String),
}

impl Verdict {
    pub(crate) const fn outcome(&self) -> Outcome {
        match self {
            Self::Committed { .. } => Outcome::Confirm,
            Self::Withheld | Self::Closed => Outcome::Cancel,
            Self::Unknown(_) => Outcome::Unknown,
        }
    }

    /// What it means for the call's messages, whoever holds them by now: a fence row is final.
    pub(crate) const fn event(&self) -> Option<Event> {
        match self {
            Self::Committed { .. } => Some(Event::CheckBackConfirms),
            Self::Withheld | Self::Closed => Some(Event::CancelFinal),
            Self::Unknown(_) => None,
        }
    }
}

impl Verdict {
    /// No row, and none could be written: the database's identity is another.
    pub(crate) fn wrong_database() -> Self {
        Self::Unknown("the pool leads to another database than the message belongs to".into())
    }

    /// Reads a fence row. A number that we don't know is no answer: a newer version may have written it.
    pub(crate) fn of_row(code: i64, amended: Option<Vec<u8>>) -> Self {
        match FenceRow::of_code(code) {
            Some(FenceRow::Committed) => Self::Committed { amended },
            Some(FenceRow::Tombstone) => Self::Closed,
            Some(FenceRow::Withheld) => Self::Withheld,
            None => Self::Unknown(format!("the fence row says {code}, which this version does not know")),
        }
    }
}

/// Without a verdict, there is no row.
impl From<Option<Verdict>> for Evidence {
    fn from(verdict: Option<Verdict>) -> Self {
        match verdict {
            None => Self::NoRow,
            Some(Verdict::Committed { amended }) => Self::Committed { amended: amended.is_some() },
            Some(Verdict::Withheld) => Self::Withheld,
            Some(Verdict::Closed) => Self::Closed,
            Some(Verdict::Unknown(why)) => Self::Unknown(why),
        }
    }
}
