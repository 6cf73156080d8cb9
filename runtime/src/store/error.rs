//! What can go wrong with a database.

use crate::error::{Error, ErrorKind};

/// A failure of the store. Credentials never appear in it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Unreachable, or of no use now: the same may work later.
    #[error("{0}")]
    Unavailable(String),
    /// It did not answer in time. The same may work later.
    #[error("{0}")]
    TimedOut(String),
    /// Others were in the way: a lock, a deadlock. The same may work later.
    #[error("{0}")]
    Contended(String),
    /// The tables are missing or of another version.
    #[error("{0}")]
    Schema(String),
    /// An error that this crate does not know. It may pass, and it may be about one row of many.
    #[error("{0}")]
    Unexpected(String),
    /// The row's own fault: it is too long, or says what the database can't hold. Never stored.
    #[error("{0}")]
    Refused(String),
}

impl StoreError {
    pub(crate) fn into_error(self, what: &str) -> Error {
        let kind = match self {
            Self::Unavailable(_)
            | Self::TimedOut(_)
            | Self::Contended(_)
            | Self::Unexpected(_)
            | Self::Refused(_) => ErrorKind::Unavailable,
            Self::Schema(_) => ErrorKind::Schema,
        };
        Error::new(kind, what).retryable(self.is_passing()).with_source(self)
    }

    /// Whether the same may work later.
    pub(crate) const fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::TimedOut(_) | Self::Contended(_))
    }

    /// Whether one row may be to blame: then its neighbours are tried without it.
    pub(crate) const fn may_be_one_rows(&self) -> bool {
        matches!(self, Self::Unexpected(_) | Self::Refused(_))
    }
}
