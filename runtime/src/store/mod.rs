//! The port to the message store: the verbs that the protocol and the workers need.
//!
//! Verbs take slices, so that an adapter can do many rows in one statement. All times are
//! durations: "now" is always the database's clock. All transitions are conditional and idempotent.

pub(crate) mod measured;
mod values;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind};
use crate::message::limits::Limits;
use crate::message::state::{Applied, Event, MessageState};
use crate::message::{AnsweredBy, CallId, Half, MessageId};

pub(crate) use values::{
    Attempts, Claim, ClaimLimits, ClaimedRow, Finished, Flush, Hold, Holder, Reason, Release, Renewed, Token,
    Transition, Undecodable,
};
pub(crate) use values::{Gauge, Gauges};
pub use values::{MessageInfo, Stats, Unfinished};

/// A failure of the store. Credentials never appear in it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Unreachable, or of no use now: the same may work later.
    #[error("{0}")]
    Unavailable(String),
    /// It did not answer in time. The same may work later.
    #[error("{0}")]
    TimedOut(String),
    /// Others were in the way: a lock, a deadlock. The same may work later.
    #[error("{0}")]
    Contended(String),
    /// The tables are missing or of another version.
    #[error("{0}")]
    Schema(String),
    /// An error that this crate does not know. It may pass, and it may be about one row of many.
    #[error("{0}")]
    Unexpected(String),
    /// The row's own fault: it is too long, or says what the database can't hold. Never stored.
    #[error("{0}")]
    Refused(String),
}

impl StoreError {
    pub(crate) fn into_error(self, what: &str) -> Error {
        let kind = match self {
            Self::Unavailable(_)
            | Self::TimedOut(_)
            | Self::Contended(_)
            | Self::Unexpected(_)
            | Self::Refused(_) => ErrorKind::Unavailable,
            Self::Schema(_) => ErrorKind::Schema,
        };
        Error::new(kind, what).retryable(self.is_passing()).with_source(self)
    }

    /// Whether the same may work later.
    pub(crate) const fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::TimedOut(_) | Self::Contended(_))
    }

    /// Whether one row may be to blame: then its neighbours are tried without it.
    pub(crate) const fn may_be_one_rows(&self) -> bool {
        matches!(self, Self::Unexpected(_) | Self::Refused(_))
    }
}

/// The message store: what the protocol, the reporter, the relay and the checker need.
#[async_trait]
pub(crate) trait Store: StoreAdmin + fmt::Debug + Send + Sync {
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

    /// A person wants the message delivered, however late it is.
    async fn forget_expiry(&self, id: MessageId) -> Result<(), StoreError>;

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

/// The message store: what people and the janitor ask.
#[async_trait]
pub(crate) trait StoreAdmin {
    /// Messages of calls all of whose messages are finished, and that finished longer than `age`
    /// ago, oldest first: those without a fence, and those with one of `fences`, since the fence row
    /// must go first.
    async fn finished(
        &self,
        age: Duration,
        limit: u32,
        fences: &[AnsweredBy],
    ) -> Result<Vec<Finished>, StoreError>;

    /// Deletes finished messages; others are left alone. Says how many went.
    async fn delete_finished(&self, ids: &[MessageId]) -> Result<u64, StoreError>;

    /// Due halves older than `age`, except those that one of `answerable` can answer for; and
    /// held ones only if their lease has lapsed before `lapsed_before`, by the database's clock.
    async fn overdue_halves(
        &self,
        age: Duration,
        limit: u32,
        answerable: &[AnsweredBy],
        lapsed_before: Duration,
    ) -> Result<Vec<MessageId>, StoreError>;

    /// Which of these calls the store knows.
    async fn known_calls(&self, call_ids: &[CallId]) -> Result<Vec<CallId>, StoreError>;

    /// Halves that have been due for so long, by who could answer for them, if anyone.
    async fn due_by_answerer(&self, due_for: Duration) -> Result<Vec<(String, u64)>, StoreError>;

    /// Confirmed messages that have been due for so long, by service, except these; of each at most `limit`
    /// are counted.
    async fn due_by_service(
        &self,
        due_for: Duration,
        except: &[String],
        limit: u32,
    ) -> Result<Vec<(String, u64)>, StoreError>;

    /// One message.
    async fn find(&self, id: MessageId) -> Result<Option<MessageInfo>, StoreError>;

    /// The newest messages in `state`, below `before` if given (keyset paging).
    async fn list(
        &self,
        state: MessageState,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<MessageInfo>, StoreError>;

    /// Makes an unheld half or confirmed message due now. Says whether there was one.
    async fn make_due(&self, id: MessageId) -> Result<bool, StoreError>;

    /// Counts by state.
    async fn stats(&self) -> Result<Stats, StoreError>;

    /// The same without finished rows, which it does not read.
    async fn unfinished(&self) -> Result<Unfinished, StoreError>;

    /// What is worth a look every few seconds: of unfinished rows alone, and of no more than 100 000 in each state. Says
    /// who could answer for halves that have been due for so long.
    async fn gauges(&self, unanswered_for: Duration) -> Result<Gauges, StoreError>;
}
