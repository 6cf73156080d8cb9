//! What a running body can say about its call: `call_id`, `withhold`, and the state of its fence.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind};
use crate::fence::FenceDatabase;
use crate::message::CallId;
use crate::message::limits::Limits;
use crate::rules::body_state::{Body, Commit, Resolver, WaitsForItself, Withheld};
use crate::sql::{FenceKey, FenceRow, FenceWrite};

tokio::task_local! {
    pub(super) static CALL: Arc<CallScope>;
}

/// The id of the running call's message, to be stored in the business row: a check-back handler is
/// asked about this id, not about the business key, which a repeated request shares.
///
/// In a call with several messages it is the id of the first, and
/// [`HalfMessage::call_id`](crate::HalfMessage::call_id) of all of them.
///
/// # Panics
/// Outside the body of an annotated function: in a task that the body spawned, for example.
#[track_caller]
pub fn call_id() -> CallId {
    let id = CALL.try_with(|call| call.call_id).ok();
    id.unwrap_or_else(|| {
        panic!("`call_id()` was called outside a #[transactional_message] function's body: {OUTSIDE}")
    })
}

/// Says that the running body's `Ok` has nothing to send: a repeated request, for example, whose
/// work was done before.
///
/// Said while a fenced transaction is open, it belongs to that transaction, as its statements do: a body that
/// rolls back and begins again has to say it again. Said outside of one, it is for the whole call.
///
/// # Errors
/// [`ErrorKind::Misuse`] outside a body, and after the call's fenced transaction has committed:
/// withhold before `commit`, so that both take effect together.
pub fn withhold() -> Result<(), Error> {
    let call = current()?;
    let mut body = call.body();
    if body.commit != Commit::Not {
        return Err(misuse(format!(
            "`withhold()` came after `commit` in `{}`: call it before, so that both take effect together",
            call.function
        )));
    }
    body.withheld = body.withheld.said(body.open.is_some());
    Ok(())
}

const OUTSIDE: &str = "tasks that a body spawns are outside; do it before spawning, or in the body itself";

/// The running call.
pub(crate) fn current() -> Result<Arc<CallScope>, Error> {
    CALL.try_with(Arc::clone)
        .map_err(|_| misuse(format!("there is no #[transactional_message] call here: {OUTSIDE}")))
}

fn misuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Misuse, message).in_body()
}

/// One call of an annotated function, as its body sees it.
#[derive(Debug)]
pub(crate) struct CallScope {
    pub(super) call_id: CallId,
    pub(super) function: String,
    pub(super) resolver: Resolver,
    /// What answers for the call; nothing with a handler.
    pub(super) fence: Option<Arc<dyn FenceDatabase>>,
    pub(super) messages: usize,
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

    pub(crate) const fn id(&self) -> CallId {
        self.call_id
    }

    /// Whether another transaction of the same task would wait for one in the fence's database.
    pub(super) fn fence_waits_for_itself(&self) -> bool {
        self.fence.as_ref().is_some_and(|fence| fence.waits_for_itself())
    }

    /// Whether another write to the same database would wait for this call's open transaction.
    pub(super) fn would_block_a_nested_call(&self) -> bool {
        self.body().open == Some(WaitsForItself(true))
    }

    /// Admits one fenced transaction: one open at a time, none after a commit.
    pub(crate) fn open_transaction(
        self: &Arc<Self>,
        waits_for_itself: bool,
    ) -> Result<OpenTransaction, Error> {
        if self.resolver == Resolver::Handler {
            return Err(misuse(format!(
                "`begin` or `enter` was called in `{}`, which is not fenced: write `fence` instead of `check_back` in its \
                 attribute, or use an ordinary transaction",
                self.function
            )));
        }
        let mut body = self.body();
        if body.open.is_some() {
            return Err(misuse(format!(
                "`begin` or `enter` was called twice in `{}`: the first fenced transaction is still open; end it first",
                self.function
            )));
        }
        if body.commit != Commit::Not {
            return Err(Error::new(
                ErrorKind::AlreadyCommitted,
                format!(
                    "`begin` or `enter` was called after `commit` or `done` in `{}`: one call has one transaction that \
                     commits, and the earlier one has, or may",
                    self.function
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
        Ok(OpenTransaction { call: Arc::clone(self) })
    }
}

/// The call's one open fenced transaction. Dropping it lets the call open another.
#[derive(Debug)]
pub(crate) struct OpenTransaction {
    call: Arc<CallScope>,
}

impl OpenTransaction {
    pub(crate) fn function(&self) -> String {
        self.call.function.clone()
    }

    /// The fence row to be written; none for a call without a message.
    pub(crate) fn key(&self) -> Option<FenceKey> {
        match self.call.resolver {
            Resolver::Fence(identity) if self.call.messages > 0 => Some(FenceKey {
                namespace: self.call.fence.as_ref().map(|fence| fence.namespace()).unwrap_or_default(),
                identity,
                call_id: self.call.call_id,
            }),
            _ => None,
        }
    }

    /// What a client that is not ours executes to enter a transaction, and to say that it is done.
    pub(crate) fn statements(&self) -> Option<(String, String)> {
        Some(self.call.fence.as_ref()?.statements(&self.key()?))
    }

    /// What does nothing there.
    pub(crate) fn no_statement(&self) -> String {
        self.call.fence.as_ref().map_or("", |fence| fence.no_statement()).to_owned()
    }

    pub(crate) fn amend(&self, payload: Vec<u8>) -> Result<(), Error> {
        if self.call.messages != 1 {
            return Err(misuse(format!(
                "`amend` was called in `{}`, which sends {} messages: it can amend only a single one",
                self.call.function, self.call.messages
            )));
        }
        self.call.limits.check_body(&payload).map_err(Error::in_body)?;
        self.call.body().amended = Some(payload);
        Ok(())
    }

    /// The fence row goes into a transaction that the caller commits.
    pub(crate) fn enters(&self) {
        self.call.body().entered = true;
    }

    /// Says what is to be written now that the body is done; nothing when there is nothing to send.
    pub(crate) fn is_done(&self) -> Option<FenceWrite> {
        let mut body = self.call.body();
        if body.withheld != Withheld::No {
            return None;
        }
        body.commit = Commit::Callers;
        Some(FenceWrite { row: FenceRow::Committed, amended: body.amended.clone() })
    }

    /// Says what has to be proven and written before the commit. What the body says from now on
    /// comes too late for it.
    pub(crate) fn commit_begins(&self) -> Option<(FenceKey, FenceWrite)> {
        let mut body = self.call.body();
        body.commit = Commit::Unclear;
        let row = if body.withheld == Withheld::No { FenceRow::Committed } else { FenceRow::Withheld };
        self.key().map(|key| (key, FenceWrite { row, amended: body.amended.clone() }))
    }

    /// The transaction was rolled back instead, or the row could not be written.
    pub(crate) fn commit_refused(&self) {
        self.call.body().commit = Commit::Not;
    }

    pub(crate) fn committed(&self) {
        self.call.body().commit = Commit::Proven;
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        self.call.body().open = None;
    }
}
