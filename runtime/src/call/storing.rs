//! Stores halves durably, and hands out the ticket by which they are reported.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::calls::Calls;
use super::group_commit::Permit;
use super::live::LiveCall;
use super::ticket::Ticket;
use crate::error::{Error, ErrorKind};
use crate::fault;
use crate::store::StoreError;
use crate::telemetry::catalogue::{HALF_DURATION, LEASES_LOST};

/// Stores a call's halves. `problem` says what it means when that fails, given the function's name.
pub(super) async fn store(
    calls: Calls,
    live: LiveCall,
    alive: TaskTrackerToken,
    problem: impl FnOnce(&str) -> String,
) -> Result<Ticket, Error> {
    fault::point("before-half");
    let began = Instant::now();
    let live = Arc::new(live);
    let patience = calls.settings.half_timeout;
    let function = live.scope.function.clone();
    let ticket = tokio::time::timeout(patience, async {
        let permit = calls.group_commit.admit().await?;
        // In a task of its own: a caller who leaves cannot cut a statement in two, and a half that
        // lands after its caller has left cancels itself, because its ticket is dropped.
        let stored = tokio::spawn(store_halves(calls, live, alive, permit)).await;
        stored.unwrap_or_else(|failed| Err(StoreError::Unavailable(failed.to_string())))
    });
    let ticket = ticket.await;
    HALF_DURATION.get().record(began.elapsed());
    let cause = match ticket {
        Ok(Ok(ticket)) => return Ok(ticket),
        Ok(Err(cause)) => cause,
        Err(_) => StoreError::TimedOut(format!("no answer within {patience:?}")),
    };
    Err(not_stored(cause, problem(&function)))
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
            LEASES_LOST.get().increment(1);
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

pub(super) fn not_stored(cause: StoreError, problem: String) -> Error {
    let kind = match cause {
        StoreError::Schema(_) => ErrorKind::Schema,
        StoreError::Unavailable(_)
        | StoreError::TimedOut(_)
        | StoreError::Contended(_)
        | StoreError::Unexpected(_) => ErrorKind::Unavailable,
        // Its texts, or its size: the same message is refused again.
        StoreError::Refused(_) => ErrorKind::InvalidMessage,
    };
    Error::new(kind, problem).retryable(cause.is_passing()).with_source(cause)
}
