//! A call whose halves are stored, and how it ended.

use std::sync::Arc;
use std::time::Duration;

use super::scope::CallScope;
use crate::fault;
use crate::message::{FenceId, Half, MessageId};
use crate::rules::body_state::Resolver;
use crate::rules::ending::{Decision, Ending, decide};

/// A call whose halves are stored. Its payloads stay in memory until its report is acknowledged.
#[derive(Debug)]
pub(crate) struct LiveCall {
    pub(crate) scope: Arc<CallScope>,
    pub(crate) halves: Vec<Arc<Half>>,
    pub(super) ask_on_err: bool,
    pub(crate) check_after: Duration,
    /// The [`Store::troubles`](crate::store::Store::troubles) before its halves were stored.
    pub(crate) troubles: u64,
}

impl LiveCall {
    pub(crate) fn halves(&self) -> impl Iterator<Item = &Half> {
        self.halves.iter().map(Arc::as_ref)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = MessageId> + '_ {
        self.halves.iter().map(|half| half.id)
    }

    /// The same call with some of its halves: those that are not settled yet.
    pub(crate) fn with(&self, halves: Vec<Arc<Half>>) -> Self {
        Self { scope: Arc::clone(&self.scope), halves, ..*self }
    }

    /// The fence that answers for the call, if one does.
    pub(crate) fn fence(&self) -> Option<FenceId> {
        match self.scope.resolver {
            Resolver::Fence(identity) => Some(identity),
            Resolver::Handler => None,
        }
    }
}

/// How a call ended, on its way to the store.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) call: Arc<LiveCall>,
    pub(crate) ending: Ending,
}

impl Report {
    pub(crate) fn decision(&self) -> Decision {
        if fault::bug("cancel-on-err") && self.ending == Ending::Err {
            return Decision::Cancel;
        }
        decide(self.call.scope.resolver, self.ending, &self.call.scope.body(), self.call.ask_on_err)
    }
}
