//! The running call, as its body reaches it: `call_id`, `withhold`, and the messages that it has decided on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::calls::Calls;
use super::live::LiveCall;
use super::scope::CallScope;
use super::storing::store;
use super::ticket::Ticket;
use crate::error::{Error, ErrorKind};
use crate::message::{CallId, Half, MessageId};
use crate::rules::body_state::{Commit, Resolver, Withheld};
use crate::rules::ending::Ending;

tokio::task_local! {
    pub(super) static RUNNING: Arc<Running>;
}

/// The id of the running call's message, to be stored in the business row: a check-back handler is
/// asked about this id, not about the business key, which a repeated request shares.
///
/// In a call with several messages it is the id of the first, and
/// [`HalfMessage::call_id`](crate::HalfMessage::call_id) of all of them. What a fenced call sends by [`send`](crate::send) has
/// ids of its own: its fence row is that of the transaction.
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
    let closed = running.decided().closed;
    let mut body = running.scope().body();
    if (closed && body.open.is_some()) || body.commit != Commit::Not {
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
    /// The transaction commits, or its body has ended: what comes now comes too late.
    pub(super) closed: bool,
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
        let entered = self.scope().has_entered();
        let mut decided = self.decided();
        let new = || Arc::new(self.scope().of_a_transaction(entered));
        Arc::clone(decided.transaction.get_or_insert_with(new))
    }

    /// Whether `scope` is still what the body decides in.
    pub(super) fn is_open(&self, decided: &Decided, scope: &Arc<CallScope>) -> bool {
        let current = decided.transaction.as_ref().unwrap_or(&self.call.scope);
        !decided.closed && Arc::ptr_eq(current, scope)
    }

    /// Takes what was decided; nothing more can be.
    pub(super) fn close(&self) -> (Vec<Arc<Half>>, Option<Ticket>) {
        let mut decided = self.decided();
        decided.closed = true;
        (std::mem::take(&mut decided.staged), decided.stored.take())
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
    pub(super) async fn ended(&self, ending: Ending) {
        let (staged, stored) = self.close();
        let (withheld, not_done) = {
            let body = self.scope().body();
            (body.withheld != Withheld::No, body.entered && body.commit == Commit::Not)
        };
        if let Some(ticket) = stored {
            // What is withheld belongs to the call, and its messages to the transaction.
            ticket.body_ended(if withheld && not_done { Ending::Err } else { ending });
        }
        if ending == Ending::Ok && not_done && !withheld && !staged.is_empty() {
            self.park(staged).await;
        }
    }

    /// Messages that were decided on in a transaction of the function's caller, who was never told that it is done: whether
    /// they are to be sent, only an operator can find out, like about those of the attribute.
    async fn park(&self, staged: Vec<Arc<Half>>) {
        let (scope, count) = (self.deciding(), staged.len());
        let function = scope.function.clone();
        if !self.is_in_the_stores_file() {
            let live = self.live(scope, staged);
            let stored =
                store(self.calls.clone(), live, self.calls.admission.another(), |_| String::new()).await;
            if let Ok(ticket) = stored {
                return ticket.body_ended(Ending::Ok);
            }
        }
        tracing::error!(
            function,
            count,
            "`{function}` returned Ok without calling `done`, and what it has decided to send is lost"
        );
    }

    pub(super) fn live(&self, scope: Arc<CallScope>, halves: Vec<Arc<Half>>) -> LiveCall {
        let troubles = self.calls.held.store().troubles();
        LiveCall { scope, halves, troubles, ..*self.call }
    }

    /// Whether the store's own connections would wait for the open transaction.
    pub(super) fn is_in_the_stores_file(&self) -> bool {
        let file = self.scope().fence.as_ref().and_then(|fence| fence.file());
        file.is_some() && file == self.calls.held.store().file()
    }
}

/// Reports what was decided when the body vanishes, whoever may have kept a part of its transaction.
pub(super) struct Guard(pub(super) Arc<Running>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let (_, Some(ticket)) = self.0.close() {
            ticket.body_ended(Ending::Vanished);
        }
    }
}
