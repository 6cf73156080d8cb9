//! Runs a body as a call.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tracing::Instrument;

use super::calls;
use super::description::Call;
use super::halves::{put_context, to_live};
use super::outcome::Counted;
use super::running::{self, Guard, RUNNING, Running};
use super::storing::store;
use super::ticket::Ticket;
use crate::error::{ConvertError, Error, ErrorKind, FromHalfError};
use crate::fault;
use crate::rules::ending::Ending;
use crate::telemetry::spans;

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
        let mut counted = Counted::new(&call.name);
        // Declared before the body: dropped after it, so that the report of a dropped future is
        // sent when its transaction has been rolled back.
        let mut ticket = match begin(call).await {
            Ok(ticket) => ticket,
            Err(error) => return Err(convert(error)),
        };
        ticket.body_starts();
        counted.body_starts();
        let running = Arc::new(Running::new(ticket.calls.clone(), Arc::clone(&ticket.call)));
        let guard = Guard(Arc::clone(&running));
        let result = RUNNING.scope(Arc::clone(&running), body).await;
        fault::point("committed");
        let ending = if result.is_ok() { Ending::Ok } else { Ending::Err };
        running.ended(ending).await;
        counted.body_ended(result.is_ok(), ticket.call.scope.has_withheld());
        drop(guard);
        ticket.body_ended(ending);
        result
    })
}

/// Stores the call's half messages durably. Until this succeeds, the body has not run.
async fn begin(call: Call) -> Result<Ticket, Error> {
    let calls = call.calls.clone().map_or_else(calls::current, Ok)?;
    refuse_nesting(&call.name)?;
    let alive = calls.admission.admit(&call.name)?;
    let mut live = to_live(&calls, call)?;
    if live.halves.is_empty() {
        return Ok(Ticket::new(calls, Arc::new(live), alive));
    }
    let exchange = live.halves.first().map_or("", |half| &half.message.exchange);
    let span = spans::create(&live.scope.function, exchange, live.scope.id());
    live.halves
        .iter_mut()
        .filter_map(Arc::get_mut)
        .for_each(|half| put_context(&calls, &span, &mut half.message));
    let stored = store(calls, live, alive, |function| {
        format!("the half message of `{function}` could not be stored, so its body did not run")
    });
    stored.instrument(span).await
}

/// An annotated call inside an open transaction that its own half message would wait for.
fn refuse_nesting(function: &str) -> Result<(), Error> {
    match running::current() {
        Ok(outer) if outer.scope().would_block_a_nested_call() => Err(Error::new(
            ErrorKind::Misuse,
            format!(
                "`{function}` was called while the fenced transaction of `{}` is open on SQLite, which has one writer: \
                 it would wait for itself; call it before `begin` or after `commit`, or let the body `send` its message",
                outer.scope().function()
            ),
        )),
        _ => Ok(()),
    }
}
