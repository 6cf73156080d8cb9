//! What a body has done and said so far: what its ending is judged by.

use crate::fault;
use crate::message::FenceId;

/// How the call's outcome is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolver {
    /// The fence in the database with this identity.
    Fence(FenceId),
    /// A check-back handler.
    Handler,
}

/// What the body has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) withheld: Withheld,
    pub(crate) begun: bool,
    /// The last transaction that the call's fence row went into is its caller's to commit.
    pub(crate) entered: bool,
    /// A fenced transaction is open now, and a second one would wait for it.
    pub(crate) open: Option<WaitsForItself>,
    pub(crate) commit: Commit,
    pub(crate) amended: Option<Vec<u8>>,
}

/// Whether the body has said that there is nothing to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Withheld {
    #[default]
    No,
    /// In a fenced transaction: about that one.
    InTransaction,
    /// Outside of one: about the call.
    ForTheCall,
}

impl Withheld {
    /// It is said now.
    pub(crate) fn said(self, in_transaction: bool) -> Self {
        if in_transaction && self != Self::ForTheCall { Self::InTransaction } else { Self::ForTheCall }
    }

    /// The call begins a transaction: what was said in an earlier one was rolled back with it.
    pub(crate) fn begins(self) -> Self {
        if self == Self::InTransaction && !fault::bug("withhold-survives") { Self::No } else { self }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaitsForItself(pub(crate) bool);

/// How far the call's fenced commit got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Commit {
    /// Not tried, or the transaction was rolled back for sure.
    #[default]
    Not,
    /// Sent, and not known to have succeeded.
    Unclear,
    /// Its caller's to send: the body is done, and the fence row says so.
    Callers,
    /// The database said yes.
    Proven,
}
