//! The port to the message store: the verbs that the protocol and the workers need.
//!
//! Verbs take slices, so that an adapter can do many rows in one statement. All times are
//! durations: "now" is always the database's clock. All transitions are conditional and idempotent.

mod audit;
mod control;
mod error;
mod history;
mod info;
pub(crate) mod measured;
mod operate;
mod operation;
mod process;
mod search;
pub(crate) mod serial;
mod values;

use std::fmt;
use std::path::Path;

use async_trait::async_trait;

use crate::message::limits::Limits;
use crate::message::state::{Applied, Event, MessageState};
use crate::message::{AnsweredBy, Half, MessageId};

pub use audit::{Action, Actor, AuditFilter, AuditRecord};
pub(crate) use audit::{Decision, Entry};
pub use control::Pause;
pub(crate) use control::StoreControl;
pub(crate) use error::StoreError;
pub use history::HistoryEntry;
pub(crate) use history::read_history;
pub use info::{Contents, Filter, HeldBy, MessageInfo, Page};
pub(crate) use operate::{LONG_DUE, StoreAdmin};
pub(crate) use operation::{About, NewOperation, StoreOperations};
pub use operation::{ItemOutcome, Operation, OperationItem, Order, Progress};
pub use process::ProcessInfo;
pub(crate) use process::{ANNOUNCED_EVERY, FORGOTTEN_AFTER};
pub(crate) use search::{Candidates, SCAN, SCAN_AND_NEW, Scan};
pub(crate) use serial::time;
pub(crate) use values::{
    Attempts, Claim, ClaimLimits, ClaimedRow, Finished, Flush, Hold, Holder, Reason, Release, Renewed, Token,
    Transition, Undecodable,
};
pub use values::{Gauge, Gauges, Stats, Unfinished};

/// The message store: what the protocol, the reporter, the relay and the checker need.
#[async_trait]
pub(crate) trait Store:
    StoreAdmin + StoreControl + StoreOperations + fmt::Debug + Send + Sync
{
    /// Creates or updates the tables. Safe to run by many processes at once.
    async fn migrate(&self) -> Result<(), StoreError>;

    /// Checks that the tables have the version that this crate knows.
    async fn check_schema(&self) -> Result<(), StoreError>;

    /// Errs, with [`StoreError::Refused`] and the remedy in its text, when the server is set so that something of ours
    /// could never work there: messages within `limits` among it.
    async fn check_server(&self, limits: Limits) -> Result<(), StoreError> {
        let _ = limits;
        Ok(())
    }

    /// The settings under which what was stored can be lost all the same, each as a text. Errs when
    /// it would not even survive the process.
    async fn weaknesses(&self) -> Result<Vec<String>, StoreError>;

    /// What kind of database it is.
    fn kind(&self) -> &'static str;

    /// Where it is a file with one writer: which.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// How often the way to the store was interrupted. When it has changed, another server may have taken over, which has not
    /// all that the one before had.
    fn troubles(&self) -> u64 {
        0
    }

    /// How often another of several servers was turned to.
    fn switches(&self) -> u64 {
        0
    }

    /// Stores halves durably, all or none, held by us.
    async fn insert_halves(&self, halves: &[&Half], hold: Hold) -> Result<(), StoreError>;

    /// Stores messages whose half is gone (a restored store) as confirmed, held by us.
    async fn insert_confirmed(&self, halves: &[&Half], hold: Hold) -> Result<(), StoreError>;

    /// Applies `event` to rows that are in one of the states `from`, and says what became of each. Errs, and moves none, where
    /// the way to the store was interrupted since one of them was to be undisturbed; anything else may be repeated on another
    /// server. A row that becomes confirmed is held by `hold`, or free to be delivered by anyone without one.
    async fn apply(
        &self,
        event: Event,
        from: &[MessageState],
        transitions: &[Transition],
        hold: Option<Hold>,
        flush: Flush,
    ) -> Result<Vec<Applied>, StoreError>;

    /// Applies `event` to rows, each under the condition that its state allows it. What may be found
    /// again after a crash is not waited for on its way to the disk.
    async fn transition(
        &self,
        event: Event,
        transitions: &[Transition],
        hold: Option<Hold>,
    ) -> Result<Vec<Applied>, StoreError> {
        let relaxed = event.relaxed_sources();
        if relaxed.is_empty() {
            return self.apply_legibly(event, event.sources(), transitions, hold, Flush::Now).await;
        }
        let mut applied = self.apply_legibly(event, relaxed, transitions, hold, Flush::Later).await?;
        let allowed =
            |one: &Applied| matches!(one, Applied::Conflict(state) if event.sources().contains(state));
        let (places, rest): (Vec<usize>, Vec<Transition>) = (0..)
            .zip(transitions)
            .filter(|(place, _)| applied.get(*place).is_some_and(allowed))
            .map(|(place, transition)| (place, transition.clone()))
            .unzip();
        if !rest.is_empty() {
            let again = self.apply_legibly(event, event.sources(), &rest, hold, Flush::Now).await?;
            for (place, one) in places.into_iter().zip(again) {
                applied[place] = one;
            }
        }
        Ok(applied)
    }

    /// The same as [`apply`](Self::apply), with as much of the reasons as the database can hold: what a text says
    /// must not keep what it is about from being stored.
    async fn apply_legibly(
        &self,
        event: Event,
        from: &[MessageState],
        transitions: &[Transition],
        hold: Option<Hold>,
        flush: Flush,
    ) -> Result<Vec<Applied>, StoreError> {
        let mut applied = self.apply(event, from, transitions, hold, flush).await;
        if matches!(applied, Err(StoreError::Refused(_))) {
            let mut transitions = transitions.to_vec();
            while matches!(applied, Err(StoreError::Refused(_)))
                && Reason::simplify(transitions.iter_mut().map(|transition| &mut transition.reason))
            {
                applied = self.apply(event, from, &transitions, hold, flush).await;
            }
        }
        applied
    }

    /// Renews leases: of half messages, taking back what others may have taken over (a live body is
    /// not asked about, so its count begins anew), and of confirmed ones that are still held by
    /// `hold.token`. Says which rows are ours now. Waits for no row that another process has locked.
    ///
    /// Its answer counts as contact with the store only if the store can be written to. So it writes also when
    /// none of `ids` is there; without any `ids`, only while the store has half or confirmed messages, whose
    /// holders must have been able to renew.
    async fn renew(&self, ids: &[MessageId], hold: Hold) -> Result<Renewed, StoreError>;

    /// Gives held rows back; rows that are no longer held so are left alone.
    async fn release(&self, releases: &[Release]) -> Result<(), StoreError>;

    /// The same, with as much of the reasons as the database can hold: the counts always arrive.
    async fn give_back(&self, releases: &[Release]) -> Result<(), StoreError> {
        let mut done = self.release(releases).await;
        if matches!(done, Err(StoreError::Refused(_))) {
            let mut releases = releases.to_vec();
            while matches!(done, Err(StoreError::Refused(_)))
                && Reason::simplify(releases.iter_mut().map(|one| &mut one.reason))
            {
                done = self.release(&releases).await;
            }
        }
        done
    }

    /// Takes due halves that one of `askable` can answer for. Counts nothing: which of them is asked, and which
    /// answers, is not known yet. Each is held for its `check_after` longer, so that what is taken over from this claim
    /// has waited that long.
    async fn claim_halves(
        &self,
        askable: &[AnsweredBy],
        limits: ClaimLimits,
        hold: Hold,
    ) -> Result<Claim, StoreError>;

    /// Counts a question that is about to be asked, and holds its half as a claim does; if it is still held with
    /// `hold.token`, and says whether it was. Durable when it returns.
    async fn enter(&self, id: MessageId, hold: Hold) -> Result<bool, StoreError>;

    /// Takes due confirmed messages of these services.
    async fn claim_confirmed(
        &self,
        services: &[String],
        limits: ClaimLimits,
        hold: Hold,
    ) -> Result<Claim, StoreError>;

    /// Closes the connections.
    async fn close(&self);
}
