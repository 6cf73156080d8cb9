//! One call of an annotated function: what is known of it, and what its body has done so far.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fault;
use crate::fence::FenceDatabase;
use crate::message::limits::Limits;
use crate::message::{AnsweredBy, CallId};
use crate::rules::body_state::{Body, Commit, Resolver, WaitsForItself, Withheld};

/// One call of an annotated function. Or one transaction of it, as far as the messages are concerned that the body
/// has decided on in it: what such a transaction takes back, it takes those messages back with.
#[derive(Debug)]
pub(crate) struct CallScope {
    pub(super) call_id: CallId,
    pub(super) function: String,
    pub(super) resolver: Resolver,
    /// What answers for the call; nothing with a handler.
    pub(super) fence: Option<Arc<dyn FenceDatabase>>,
    pub(super) messages: usize,
    /// Handlers that answer for none of them, and their packages.
    pub(super) idle: Vec<(AnsweredBy, Option<String>)>,
    pub(super) limits: Limits,
    pub(super) body: Mutex<Body>,
}

impl CallScope {
    pub(crate) fn function(&self) -> &str {
        &self.function
    }

    /// Whether the body is done, and its caller has still to commit.
    pub(crate) fn is_left_to_the_caller(&self) -> bool {
        self.body().commit == Commit::Callers
    }

    pub(super) fn body(&self) -> MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the body has put its fence row into its caller's transaction.
    pub(crate) fn has_entered(&self) -> bool {
        self.body().entered
    }

    /// Whether its body had nothing to send.
    pub(super) fn has_withheld(&self) -> bool {
        self.body().withheld != Withheld::No
    }

    /// Whether the database has said that the body's transaction is committed.
    pub(crate) fn has_committed(&self) -> bool {
        self.body().commit == Commit::Proven
    }

    pub(crate) const fn id(&self) -> CallId {
        self.call_id
    }

    /// One transaction of the call, which has a fence row of its own.
    pub(super) fn of_a_transaction(&self, entered: bool) -> Self {
        Self {
            call_id: if fault::bug("decided-share-a-row") { self.call_id } else { CallId::new() },
            function: self.function.clone(),
            resolver: self.resolver,
            fence: self.fence.clone(),
            messages: 0,
            idle: Vec::new(),
            limits: self.limits,
            body: Mutex::new(Body { begun: true, entered, ..Body::default() }),
        }
    }

    /// Whether another transaction of the same task would wait for one in the fence's database.
    pub(super) fn fence_waits_for_itself(&self) -> bool {
        self.fence.as_ref().is_some_and(|fence| fence.file().is_some())
    }

    /// Whether another write to the same database would wait for this call's open transaction.
    pub(super) fn would_block_a_nested_call(&self) -> bool {
        self.body().open == Some(WaitsForItself(true))
    }
}
