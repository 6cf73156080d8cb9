//! A call's open fenced transaction: one at a time, and none after a commit.

use std::sync::Arc;

use super::running::{Running, misuse};
use super::scope::CallScope;
use crate::error::{Error, ErrorKind};
use crate::fault;
use crate::fence::FenceDatabase;
use crate::message::{CallId, FenceId};
use crate::rules::body_state::{Body, Commit, Resolver, WaitsForItself, Withheld};
use crate::sql::{FenceKey, FenceRow, FenceWrite};

impl Running {
    /// Admits a fenced transaction.
    pub(super) fn open_transaction(
        self: &Arc<Self>,
        waits_for_itself: bool,
    ) -> Result<OpenTransaction, Error> {
        let call = self.scope();
        let Resolver::Fence(identity) = call.resolver else {
            return Err(misuse(format!(
                "`begin` or `enter` was called in `{}`, which is not fenced: write `fence` instead of `check_back` in its \
                 attribute, or use an ordinary transaction",
                call.function
            )));
        };
        let mut body = call.body();
        if body.open.is_some() {
            return Err(misuse(format!(
                "`begin` or `enter` was called twice in `{}`: the first fenced transaction is still open; end it first",
                call.function
            )));
        }
        if body.commit != Commit::Not {
            return Err(Error::new(
                ErrorKind::AlreadyCommitted,
                format!(
                    "`begin` or `enter` was called after `commit` or `done` in `{}`: one call has one transaction that \
                     commits, and the earlier one has, or may",
                    call.function
                ),
            )
            .in_body());
        }
        body.begun = true;
        body.entered = false;
        // What an earlier transaction had staged was rolled back with it.
        body.amended = None;
        body.withheld = body.withheld.begins();
        body.open = Some(WaitsForItself(waits_for_itself));
        drop(body);
        if !fault::bug("decided-survives") {
            self.transaction_begins();
        }
        Ok(OpenTransaction { running: Arc::clone(self), identity })
    }
}

/// The call's one open fenced transaction. Dropping it lets the call open another.
#[derive(Debug)]
pub(super) struct OpenTransaction {
    pub(super) running: Arc<Running>,
    identity: FenceId,
}

impl OpenTransaction {
    pub(super) fn call(&self) -> &CallScope {
        self.running.scope()
    }

    pub(super) fn function(&self) -> String {
        self.call().function.clone()
    }

    /// The fence row that goes into the transaction first, and proves that it is still the same one at the end: the
    /// call's, which answers for the messages of the attribute; or that of the messages that the body may decide on.
    pub(super) fn key(&self) -> FenceKey {
        if self.call().messages > 0 {
            self.key_of(self.call().id())
        } else {
            self.key_of(self.running.deciding().id())
        }
    }

    fn key_of(&self, call_id: CallId) -> FenceKey {
        let namespace = self.fence().map(FenceDatabase::namespace).unwrap_or_default();
        FenceKey { namespace, identity: self.identity, call_id }
    }

    pub(super) fn fence(&self) -> Option<&dyn FenceDatabase> {
        self.call().fence.as_deref()
    }

    pub(super) fn amend(&self, payload: Vec<u8>) -> Result<(), Error> {
        let call = self.call();
        if call.messages != 1 {
            return Err(misuse(format!(
                "`amend` was called in `{}`, whose attribute has {} messages: it can amend only a single one",
                call.function, call.messages
            )));
        }
        call.limits.check_body(&payload).map_err(Error::in_body)?;
        call.body().amended = Some(payload);
        Ok(())
    }

    /// The fence row goes into a transaction that the caller commits.
    pub(super) fn enters(&self) {
        self.call().body().entered = true;
    }

    /// Whether there is anything to send, as far as the body has said.
    pub(super) fn is_withheld(&self) -> bool {
        self.call().body().withheld != Withheld::No
    }

    /// Says what is to be written now that the body is done, with messages that it has `decided` on, if it has; nothing
    /// when there is nothing to send.
    pub(super) fn is_done(&self, decided: Option<CallId>) -> Option<FenceWrite> {
        let mut body = self.call().body();
        if !self.sends(&body, decided) {
            return None;
        }
        body.commit = Commit::Callers;
        Some(self.write(&body, FenceRow::Committed, decided))
    }

    /// Says what has to be proven and written before the commit. What the body says from now on
    /// comes too late for it.
    pub(super) fn commit_begins(&self, decided: Option<CallId>) -> FenceWrite {
        let mut body = self.call().body();
        body.commit = Commit::Unclear;
        let row = if self.sends(&body, decided) { FenceRow::Committed } else { FenceRow::Withheld };
        self.write(&body, row, decided)
    }

    fn write(&self, body: &Body, row: FenceRow, decided: Option<CallId>) -> FenceWrite {
        // Without a message of the attribute, the first row is that of the others.
        let decided = decided.filter(|_| self.call().messages > 0);
        FenceWrite { row, amended: body.amended.clone(), decided }
    }

    fn sends(&self, body: &Body, decided: Option<CallId>) -> bool {
        body.withheld == Withheld::No && (decided.is_some() || self.call().messages > 0)
    }

    /// The transaction was rolled back instead, or the row could not be written.
    pub(super) fn commit_refused(&self) {
        self.call().body().commit = Commit::Not;
    }

    pub(super) fn committed(&self) {
        self.call().body().commit = Commit::Proven;
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        self.call().body().open = None;
    }
}
