//! The running call, as its body reaches it: `call_id`, `withhold`, and the messages that it has decided on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::calls::Calls;
use super::live::LiveCall;
use super::scope::CallScope;
use super::ticket::Ticket;
use crate::error::{Error, ErrorKind};
use crate::message::{CallId, Half, MessageId};
use crate::rules::body_state::{Commit, Resolver};
use crate::rules::ending::Ending;

tokio::task_local! {
    pub(super) static RUNNING: Arc<Running>;
}

/// The id of the running call's message, to be stored in the business row: a check-back handler is
/// asked about this id, not about the business key, which a repeated request shares.
///
/// In a call with several messages it is the id of the first, and
/// [`HalfMessage::call_id`](crate::HalfMessage::call_id) of all of them, those of [`send`](crate::send) included.
///
/// # Panics
/// Outside the body of an annotated function: in a task that the body spawned, for example.
#[track_caller]
pub fn call_id() -> CallId {
    let id = RUNNING.try_with(|running| running.scope().id()).ok();
    id.unwrap_or_else(|| {
        panic!("`call_id()` was called outside a #[transactional_message] function's body: {OUTSIDE}")
    })
}

/// Says that the running body's `Ok` has nothing to send: a repeated request, for example, whose
/// work was done before. That goes for the messages of the attribute, and for those of [`send`](crate::send).
///
/// Said while a fenced transaction is open, it belongs to that transaction, as its statements do: a body that
/// rolls back and begins again has to say it again. Said outside of one, it is for the whole call.
///
/// # Errors
/// [`ErrorKind::Misuse`] outside a body, and after the call's fenced transaction has committed:
/// withhold before `commit`, so that both take effect together.
pub fn withhold() -> Result<(), Error> {
    let running = current()?;
    let mut body = running.scope().body();
    if body.commit != Commit::Not {
        return Err(misuse(format!(
            "`withhold()` came after `commit` in `{}`: call it before, so that both take effect together",
            running.scope().function()
        )));
    }
    body.withheld = body.withheld.said(body.open.is_some());
    Ok(())
}

const OUTSIDE: &str = "tasks that a body spawns are outside; do it before spawning, or in the body itself";

/// The running call.
pub(super) fn current() -> Result<Arc<Running>, Error> {
    RUNNING
        .try_with(Arc::clone)
        .map_err(|_| misuse(format!("there is no #[transactional_message] call here: {OUTSIDE}")))
}

pub(super) fn misuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Misuse, message).in_body()
}

/// A call whose body runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) calls: Calls,
    pub(super) call: Arc<LiveCall>,
    decided: Mutex<Decided>,
}

/// The messages that a body has decided on.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// Those of the open transaction, to be stored with its commit.
    pub(super) staged: Vec<Arc<Half>>,
    /// Those that are in the store already. What becomes of them is known when the body ends, or says that it is done.
    pub(super) stored: Option<Ticket>,
    /// They are to be stored when `send` is called: the transaction's client can't do it for us.
    pub(super) at_once: bool,
    /// One of them has the transaction's id. (What has its call's id needs no entry in the store's index of siblings.)
    has_first: bool,
    /// The transaction that they belong to. One that is rolled back takes them along, and another one's fence row must not
    /// speak for them: so each has a row of its own.
    transaction: Option<Arc<CallScope>>,
}

impl Running {
    pub(super) fn new(calls: Calls, call: Arc<LiveCall>) -> Self {
        Self { calls, call, decided: Mutex::default() }
    }

    pub(super) fn scope(&self) -> &CallScope {
        &self.call.scope
    }

    pub(super) fn decided(&self) -> MutexGuard<'_, Decided> {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the messages belong to that the body decides on now: the open transaction, or with a handler the call.
    pub(super) fn deciding(&self) -> Arc<CallScope> {
        if self.scope().resolver == Resolver::Handler {
            return Arc::clone(&self.call.scope);
        }
        let mut decided = self.decided();
        Arc::clone(decided.transaction.get_or_insert_with(|| Arc::new(self.scope().of_a_transaction())))
    }

    /// The id of the next message that belongs to `scope`.
    pub(super) fn next_id(&self, scope: &CallScope) -> MessageId {
        let mut decided = self.decided();
        if decided.has_first || scope.id() == self.scope().id() {
            return MessageId::new();
        }
        decided.has_first = true;
        MessageId::from_uuid(scope.id().as_uuid())
    }

    /// A transaction begins: what was decided in an earlier one was rolled back with it.
    pub(super) fn transaction_begins(&self) {
        let Decided { stored, .. } = std::mem::take(&mut *self.decided());
        if let Some(ticket) = stored {
            ticket.body_ended(Ending::Err);
        }
    }

    /// The body has ended.
    pub(super) fn ended(&self, ending: Ending) {
        let stored = self.decided().stored.take();
        if let Some(ticket) = stored {
            ticket.body_ended(ending);
        }
    }
}
