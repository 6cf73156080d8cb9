//! A call's fence row: its key, and what is written into it.

use super::namespace::Namespace;
use crate::message::{CallId, FenceId};

/// Which fence row belongs to the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceKey {
    /// Where the fence's tables are.
    pub(crate) namespace: Namespace,
    pub(crate) identity: FenceId,
    pub(crate) call_id: CallId,
}

/// What `commit` writes into the fence row.
#[derive(Debug)]
pub struct FenceWrite {
    pub(crate) row: FenceRow,
    pub(crate) amended: Option<Vec<u8>>,
    /// Another row, which says "committed": that of the messages that the body has decided on, where the first one is for
    /// those of the attribute.
    pub(crate) decided: Option<CallId>,
}

#[cfg(any(feature = "mysql", feature = "sqlite"))]
impl FenceWrite {
    /// Whether the fence row is not yet what the commit makes of it.
    pub(crate) fn changes_the_row(&self) -> bool {
        self.amended.is_some() || self.row != FenceRow::Committed
    }
}

/// What a fence row says, as a number in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FenceRow {
    Committed,
    Tombstone,
    Withheld,
}

impl FenceRow {
    pub(crate) fn of_code(code: i64) -> Option<Self> {
        [Self::Committed, Self::Tombstone, Self::Withheld].into_iter().find(|row| row.code() == code)
    }

    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::Committed => 1,
            Self::Tombstone => 2,
            Self::Withheld => 3,
        }
    }
}
