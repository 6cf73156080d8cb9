//! Runs a body as a call.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::calls::{self, Calls};
use super::description::Call;
use super::group_commit::Permit;
use super::halves::to_live;
use super::live::LiveCall;
use super::scope::{self, CALL};
use super::ticket::Ticket;
use crate::error::{ConvertError, Error, ErrorKind, FromHalfError};
use crate::fault;
use crate::rules::ending::Ending;
use crate::store::StoreError;

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
    let calls = call.calls.clone().map_or_else(calls::current, Ok)?;
    refuse_nesting(&call.name)?;
    let alive = calls.admission.admit(&call.name)?;
    let live = Arc::new(to_live(&calls, call)?);
    if live.halves.is_empty() {
        return Ok(Ticket::new(calls, live, alive));
    }
    fault::point("before-half");
    let patience = calls.settings.half_timeout;
    let function = live.scope.function.clone();
    let ticket = tokio::time::timeout(patience, async {
        let permit = calls.group_commit.admit().await?;
        // In a task of its own: a caller who leaves cannot cut a statement in two, and a half that
        // lands after its caller has left cancels itself, because its ticket is dropped.
        let stored = tokio::spawn(store_halves(calls, live, alive, permit)).await;
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
    calls: Calls,
    live: Arc<LiveCall>,
    alive: TaskTrackerToken,
    permit: Permit,
) -> Result<Ticket, StoreError> {
    // Dropped on every error: should the half have landed all the same, it is cancelled.
    let ticket = Ticket::new(calls, Arc::clone(&live), alive);
    let (held, group_commit) = (&ticket.calls.held, Arc::clone(&ticket.calls.group_commit));
    let deadline = held.leases().deadline();
    let inserted = group_commit.insert(Arc::clone(&live), permit);
    fault::pending("half-sent", inserted).await?;
    held.leases().took(live.ids(), deadline);
    hold_surely(&ticket.calls, &live).await?;
    fault::point("after-half");
    Ok(ticket)
}

/// Makes sure of halves that took long to be stored: their lease may have lapsed meanwhile, and
/// somebody may be asking about them.
async fn hold_surely(calls: &Calls, live: &LiveCall) -> Result<(), StoreError> {
    let leases = calls.held.leases();
    let is_sure = || {
        let left = leases.left(live.ids());
        left.map(|left| left >= calls.settings.lease / 2).ok_or_else(|| {
            let why = "the store was so slow that the message was decided before";
            StoreError::Unavailable(why.into())
        })
    };
    while !is_sure()? {
        calls.held.renew_due().await?;
        if !is_sure()? {
            // Somebody works on the row, or the store is slow.
            tokio::time::sleep(leases.tick()).await;
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
