//! Messages that a body has decided on in its transaction: stored just before that commits.
//!
//! Where the store is in the same file as the business, which has one writer, the halves go into the transaction itself.

use std::sync::Arc;

use tokio::time::Instant;

use super::open::OpenTransaction;
use super::storing::{not_stored, store};
use super::ticket::Ticket;
use crate::error::Error;
use crate::message::{CallId, Half};
use crate::rules::body_state::Commit;
use crate::rules::ending::Ending;
use crate::sql::BusinessDatabase;

/// The messages that a body has decided on, stored, while their transaction ends.
#[derive(Debug, Default)]
pub(super) struct StagedHalves {
    ticket: Option<Ticket>,
    /// Set where they are in the transaction itself: until when they are ours, once they are there.
    deadline: Option<Instant>,
}

impl OpenTransaction {
    /// Stores what the body has decided on in this transaction, which `on` is. On an error it is to be rolled back.
    pub(super) async fn store_staged<DB: BusinessDatabase>(
        &self,
        on: &mut DB::Connection,
    ) -> Result<StagedHalves, Error> {
        let (halves, _) = self.running.close();
        if halves.is_empty() || self.is_withheld() {
            return Ok(StagedHalves::default());
        }
        self.store_halves::<DB>(on, halves).await.map_err(Error::in_body)
    }

    async fn store_halves<DB: BusinessDatabase>(
        &self,
        on: &mut DB::Connection,
        halves: Vec<Arc<Half>>,
    ) -> Result<StagedHalves, Error> {
        let running = &self.running;
        let (calls, alive) = (running.calls.clone(), running.calls.admission.another());
        let problem = |function: &str| {
            let remedy = if self.call().has_entered() {
                "roll the transaction back"
            } else {
                "its transaction was rolled back"
            };
            format!("the messages that `{function}` decided on could not be stored: {remedy}")
        };
        let live = running.live(running.deciding(), halves);
        if !running.is_in_the_stores_file() {
            let ticket = store(calls, live, alive, problem).await?;
            return Ok(ticket.into());
        }
        let (hold, deadline) = (calls.held.hold(), calls.held.leases().deadline());
        let inserted = DB::insert_halves(on, &live.halves, hold).await;
        inserted.map_err(|cause| not_stored(cause, problem(&live.scope.function)))?;
        let ticket = Ticket::new(calls, Arc::new(live), alive);
        Ok(StagedHalves { ticket: Some(ticket), deadline: Some(deadline) })
    }
}

impl From<Ticket> for StagedHalves {
    fn from(ticket: Ticket) -> Self {
        Self { ticket: Some(ticket), deadline: None }
    }
}

impl StagedHalves {
    /// The id under which they are asked about, if there are any.
    pub(super) fn call_id(&self) -> Option<CallId> {
        Some(self.ticket.as_ref()?.call.scope.id())
    }

    /// From here on, only the fence knows, unless the database says what became of the transaction.
    pub(super) fn commit_begins(&mut self, commit: Commit) {
        if let Some(ticket) = &mut self.ticket {
            ticket.call.scope.body().commit = commit;
            ticket.body_starts();
        }
    }

    pub(super) fn committed(self) {
        self.end(Commit::Proven, Ending::Ok);
    }

    /// The transaction was rolled back instead; or a body that ended it itself has committed it. The fence knows.
    pub(super) fn commit_refused(self) {
        self.end(Commit::Not, Ending::Err);
    }

    /// They are in the transaction of the function's caller, whose commit is awaited.
    pub(super) fn left_to_the_caller(self) {
        self.end(Commit::Callers, Ending::Ok);
    }

    fn end(self, commit: Commit, ending: Ending) {
        let Some(ticket) = self.ticket else { return };
        ticket.call.scope.body().commit = commit;
        if let (Commit::Proven, Some(deadline)) = (commit, self.deadline) {
            ticket.calls.held.leases().took(ticket.call.ids(), deadline);
        }
        ticket.body_ended(ending);
    }
}
