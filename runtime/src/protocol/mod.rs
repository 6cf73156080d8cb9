//! The protocol: half → body → report. What generated code calls, and all that it does.

pub(crate) mod call;
pub(crate) mod group_commit;
#[cfg(test)]
mod model;
pub(crate) mod report;
pub(crate) mod scope;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::task::task_tracker::TaskTrackerToken;
use uuid::Uuid;

use crate::core::Core;
use crate::database::namespace::Namespace;
use crate::error::{ConvertError, Error, ErrorKind, FromHalfError};
use crate::fault;
use crate::message::{self, Half, MessageId};
use crate::messenger::Messenger;
use crate::store::StoreError;
use crate::worker::keeper::renew_due;
use call::{AnsweredBy, Call, HandlerName};
use group_commit::Place;
use report::{Decision, Ending};
use scope::{Body, CALL, CallScope, Witness};

/// Runs an annotated function's body as a call: stores the half messages, runs the body once, in
/// place, and reports how it ended. What the caller gets is the body's own result, or the error
/// that kept the body from running.
///
/// A plain function that returns a boxed future: the caller's future stays small, and a body that
/// is not `Send` is reported at its own function.
pub fn run<'a, T, E, F>(call: Call, body: F) -> BoxFuture<'a, Result<T, E>>
where
    T: Send + 'a,
    E: FromHalfError + Send + 'a,
    F: Future<Output = Result<T, E>> + Send + 'a,
{
    run_or(call, body, E::from_half_error)
}

/// A call for whose error type something is still to be named that makes it.
///
/// In two steps, so that the compiler knows the type from the body, and blames what makes another one.
#[derive(Debug)]
pub struct WithBody<F> {
    call: Call,
    body: F,
}

/// Takes a body whose error type can't carry ours.
pub const fn with_body<T, E, F: Future<Output = Result<T, E>>>(call: Call, body: F) -> WithBody<F> {
    WithBody { call, body }
}

impl<F> WithBody<F> {
    /// Runs it like [`run`]; `convert` makes the error of our own.
    pub fn error<'a, T, E>(self, convert: impl ConvertError<E> + Send + 'a) -> BoxFuture<'a, Result<T, E>>
    where
        T: Send + 'a,
        E: Send + 'a,
        F: Future<Output = Result<T, E>> + Send + 'a,
    {
        run_or(self.call, self.body, |error| convert.convert(error))
    }
}

pub(crate) fn run_or<'a, T, E, F>(
    call: Call,
    body: F,
    convert: impl FnOnce(Error) -> E + Send + 'a,
) -> BoxFuture<'a, Result<T, E>>
where
    T: Send + 'a,
    E: Send + 'a,
    F: Future<Output = Result<T, E>> + Send + 'a,
{
    Box::pin(async move {
        // Declared before the body: dropped after it, so that the report of a dropped future is
        // sent when its transaction has been rolled back.
        let mut ticket = match begin(call).await {
            Ok(ticket) => ticket,
            Err(error) => return Err(convert(error)),
        };
        let result = CALL.scope(ticket.body_starts(), body).await;
        fault::point("committed");
        ticket.body_ended(if result.is_ok() { Ending::Ok } else { Ending::Err });
        result
    })
}

/// Stores the call's half messages durably. Until this succeeds, the body has not run.
async fn begin(call: Call) -> Result<Ticket, Error> {
    let messenger = call.messenger.clone().map_or_else(Messenger::current, Ok)?;
    let core = Arc::clone(messenger.core());
    refuse_nesting(&call.function)?;
    let alive = core.admit(&call.function)?;
    let live = Arc::new(describe(&core, call)?);
    if live.halves.is_empty() {
        return Ok(Ticket::new(messenger, live, alive));
    }
    fault::point("before-half");
    let patience = core.settings.half_timeout;
    let function = live.scope.function.clone();
    let ticket = tokio::time::timeout(patience, async {
        let place = core.group_commit.admit().await?;
        // In a task of its own: a caller who leaves cannot cut a statement in two, and a half that
        // lands after its caller has left cancels itself, because its ticket is dropped.
        let stored = tokio::spawn(store_halves(messenger, live, alive, place)).await;
        stored.unwrap_or_else(|failed| Err(StoreError::Unavailable(failed.to_string())))
    });
    let error = match ticket.await {
        Ok(Ok(ticket)) => return Ok(ticket),
        Ok(Err(cause)) => not_stored(&cause, &function).with_source(cause),
        Err(_) => {
            let cause = StoreError::Unavailable(format!("no answer within {patience:?}"));
            not_stored(&cause, &function).with_source(cause)
        }
    };
    Err(error)
}

async fn store_halves(
    messenger: Messenger,
    live: Arc<LiveCall>,
    alive: TaskTrackerToken,
    place: Place,
) -> Result<Ticket, StoreError> {
    // Dropped on every error: should the half have landed all the same, it is cancelled.
    let ticket = Ticket::new(messenger, Arc::clone(&live), alive);
    let core = ticket.messenger.core();
    let deadline = core.leases.deadline();
    let inserted = Arc::clone(&core.group_commit).insert(Arc::clone(&live), place);
    fault::pending("half-sent", inserted).await?;
    core.leases.took(live.ids(), deadline);
    hold_surely(core, &live).await?;
    fault::point("after-half");
    Ok(ticket)
}

/// Makes sure of halves that took long to be stored: their lease may have lapsed meanwhile, and
/// somebody may be asking about them.
async fn hold_surely(core: &Core, live: &LiveCall) -> Result<(), StoreError> {
    let is_sure = || {
        let left = core.leases.left(live.ids());
        left.map(|left| left >= core.settings.lease / 2).ok_or_else(|| {
            let why = "the store was so slow that the message was decided before";
            StoreError::Unavailable(why.into())
        })
    };
    while !is_sure()? {
        renew_due(core).await?;
        if !is_sure()? {
            // Somebody works on the row, or the store is slow.
            tokio::time::sleep(core.leases.tick()).await;
        }
    }
    Ok(())
}

fn not_stored(cause: &StoreError, function: &str) -> Error {
    let kind = match cause {
        StoreError::Schema(_) => ErrorKind::Schema,
        StoreError::Unavailable(_) | StoreError::Unexpected(_) => ErrorKind::Unavailable,
        // Its texts, or its size: the same message is refused again.
        StoreError::Refused(_) => ErrorKind::InvalidMessage,
    };
    Error::new(kind, format!("the half message of `{function}` could not be stored, so its body did not run"))
        .retryable(cause.is_passing())
}

/// An annotated call inside an open transaction that its own half message would wait for.
fn refuse_nesting(function: &str) -> Result<(), Error> {
    match scope::current() {
        Ok(outer) if outer.would_block_a_nested_call() => Err(Error::new(
            ErrorKind::Misuse,
            format!(
                "`{function}` was called while the fenced transaction of `{}` is open on SQLite, which has one writer: \
                 it would wait for itself; call it before `begin` or after `commit`",
                outer.function
            ),
        )),
        _ => Ok(()),
    }
}

/// Works out who answers for the call, and checks its messages.
fn describe(core: &Core, call: Call) -> Result<LiveCall, Error> {
    if let Some(broken) = call.broken {
        return Err(broken);
    }
    let ids: Vec<MessageId> = call.messages.iter().map(|_| Uuid::now_v7()).collect();
    let call_id = ids.first().copied().unwrap_or_else(Uuid::now_v7);
    let check_after = call.check_after.unwrap_or(core.settings.check_after);
    let limits = core.settings.limits();
    let witness = match &call.answered_by {
        Some(AnsweredBy::Handler(_)) | None => Witness::Handler,
        Some(AnsweredBy::Fence) => Witness::Fence(core.fences.only(&call.function)?),
        Some(AnsweredBy::NamedFence(name)) => Witness::Fence(core.fences.named(name, &call.function)?),
    };
    let mut halves = Vec::with_capacity(ids.len());
    for (id, (message, handler)) in ids.into_iter().zip(call.messages) {
        limits.check(&message)?;
        if let Some(why) = core.transport.refuses(&message) {
            let why = format!("a message of `{}` can't be sent: {why}", call.function);
            return Err(Error::new(ErrorKind::InvalidMessage, why));
        }
        let service = core.services.own().to_owned();
        let (answered_by, package) = match (witness, handler) {
            (Witness::Fence(identity), _) => (message::AnsweredBy::Fence(identity), None),
            (Witness::Handler, Some(HandlerName { name, package })) => {
                let name = core.handlers.require(name)?;
                let service = service.clone();
                (message::AnsweredBy::Handler { service, name }, package.map(str::to_owned))
            }
            (Witness::Handler, None) => {
                return Err(Error::new(
                    ErrorKind::Misuse,
                    format!(
                        "a message of `{}` names neither a fence nor a check-back handler",
                        call.function
                    ),
                ));
            }
        };
        let check_after = if witness == Witness::Handler { check_after } else { Duration::ZERO };
        let function = call.function.clone();
        halves.push(Arc::new(Half {
            id,
            call_id,
            service,
            package,
            function,
            answered_by,
            check_after,
            message,
        }));
    }
    let namespace = match witness {
        Witness::Fence(identity) => core.fences.namespace(identity),
        Witness::Handler => Namespace::default(),
    };
    let scope = CallScope {
        call_id,
        function: call.function,
        witness,
        namespace,
        messages: halves.len(),
        limits,
        body: Mutex::new(Body::default()),
    };
    Ok(LiveCall { scope: Arc::new(scope), halves, ask_on_err: call.ask_on_err, check_after })
}

/// A call whose halves are stored. Its payloads stay in memory until its report is acknowledged.
#[derive(Debug)]
pub(crate) struct LiveCall {
    pub(crate) scope: Arc<CallScope>,
    pub(crate) halves: Vec<Arc<Half>>,
    ask_on_err: bool,
    pub(crate) check_after: Duration,
}

impl LiveCall {
    pub(crate) fn halves(&self) -> impl Iterator<Item = &Half> {
        self.halves.iter().map(Arc::as_ref)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = MessageId> + '_ {
        self.halves.iter().map(|half| half.id)
    }

    pub(crate) fn call_id(&self) -> MessageId {
        self.scope.call_id
    }

    /// The fence that answers for the call, if one does.
    pub(crate) fn fence(&self) -> Option<Uuid> {
        match self.scope.witness {
            Witness::Fence(identity) => Some(identity),
            Witness::Handler => None,
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
        report::decide(self.call.scope.witness, self.ending, &self.call.scope.body(), self.call.ask_on_err)
    }
}

/// Sees to it that every call is reported, whatever becomes of its future.
///
/// Dropping it only sends to a channel: no I/O, no task.
#[derive(Debug)]
struct Ticket {
    /// Its workers are there as long as somebody has something to report.
    messenger: Messenger,
    call: Arc<LiveCall>,
    /// What is reported when the ticket is dropped; nothing after the report.
    ending: Option<Ending>,
    _alive: TaskTrackerToken,
}

impl Ticket {
    const fn new(messenger: Messenger, call: Arc<LiveCall>, alive: TaskTrackerToken) -> Self {
        Self { messenger, call, ending: Some(Ending::NeverRan), _alive: alive }
    }

    fn body_starts(&mut self) -> Arc<CallScope> {
        self.ending = Some(Ending::Vanished);
        Arc::clone(&self.call.scope)
    }

    fn body_ended(mut self, ending: Ending) {
        self.ending = Some(ending);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(ending) = self.ending.take()
            && !self.call.halves.is_empty()
        {
            self.messenger.core().report(Report { call: Arc::clone(&self.call), ending });
        }
    }
}
