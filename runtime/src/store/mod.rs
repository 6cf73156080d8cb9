//! The port to the message store: the verbs that the protocol and the workers need.
//!
//! Verbs take slices, so that an adapter can do many rows in one statement. All times are
//! durations: "now" is always the database's clock. All transitions are conditional and idempotent.

#[cfg(feature = "testing")]
pub(crate) mod conformance;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use crate::error::{Error, ErrorKind};
use crate::message::state::{Applied, Event, State};
use crate::message::{AnsweredBy, Half, MessageId};

/// Proves who holds a row. A fresh one for every claim; one for all bodies of a process.
pub(crate) type Token = Uuid;

/// Makes rows ours until `lease` from now, by the database's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    pub(crate) token: Token,
    pub(crate) lease: Duration,
}

/// One row's part in a transition.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) id: MessageId,
    /// When given, the row moves only if it is still held with this token.
    pub(crate) held_by: Option<Token>,
    /// Replaces the payload (an amended message).
    pub(crate) payload: Option<Vec<u8>>,
    /// Why, for a person who reads the row later.
    pub(crate) reason: Option<String>,
    /// Replaces who can tell the outcome.
    pub(crate) answered_by: Option<AnsweredBy>,
}

impl Change {
    pub(crate) const fn of(id: MessageId) -> Self {
        Self { id, held_by: None, payload: None, reason: None, answered_by: None }
    }

    pub(crate) fn answered_by(mut self, answered_by: AnsweredBy) -> Self {
        self.answered_by = Some(answered_by);
        self
    }

    pub(crate) const fn held_by(mut self, token: Token) -> Self {
        self.held_by = Some(token);
        self
    }

    pub(crate) fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    pub(crate) fn amended(mut self, payload: Option<Vec<u8>>) -> Self {
        self.payload = payload;
        self
    }
}

/// Gives a held row back, to be taken up again later by anyone.
#[derive(Clone, Debug)]
pub(crate) struct Postponement {
    pub(crate) id: MessageId,
    pub(crate) held_by: Token,
    pub(crate) after: Duration,
    pub(crate) attempts: Attempts,
    pub(crate) reason: Option<String>,
}

/// What a postponement does to the row's count of attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempts {
    Keep,
    /// One more delivery attempt was made.
    Spend,
    /// The question counted at the claim never reached a handler.
    Refund,
}

/// A row as it was read or claimed.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) half: Half,
    pub(crate) state: State,
    /// Questions asked while half, delivery attempts since.
    pub(crate) attempts: u32,
    pub(crate) age: Duration,
    /// The row was taken over from a holder whose lease has lapsed.
    pub(crate) taken_over: bool,
}

/// A row that can't be read: named, so that it is reported and its neighbours go on.
#[derive(Clone, Debug)]
pub(crate) struct Undecodable {
    pub(crate) id: MessageId,
    pub(crate) why: String,
}

/// What a claim found.
#[derive(Debug, Default)]
pub(crate) struct Claim {
    pub(crate) rows: Vec<Stored>,
    pub(crate) undecodable: Vec<Undecodable>,
}

/// How much to claim at once, and from whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) rows: u32,
    pub(crate) bytes: usize,
    /// Until when, by the database's clock, rows of holders whose lease has lapsed may be taken
    /// over, if at all. The statement compares when it has what it waited for.
    pub(crate) take_over_until: Option<Duration>,
}

/// A finished message, old enough to be deleted with its fence row.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) id: MessageId,
    pub(crate) call_id: MessageId,
    pub(crate) answered_by: Option<AnsweredBy>,
}

/// What the renewal of leases found.
#[derive(Debug)]
pub(crate) struct Renewed {
    pub(crate) ids: Vec<MessageId>,
    /// The database's clock, since its epoch; compared with our own to notice a jump.
    pub(crate) database_clock: Duration,
}

/// Counts by state, and how old the oldest unfinished message is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Stored, outcome undecided.
    pub half: u64,
    /// Confirmed, not yet delivered.
    pub confirmed: u64,
    /// Cancelled, not yet pruned.
    pub cancelled: u64,
    /// Delivered, not yet pruned.
    pub delivered: u64,
    /// Half messages that wait for a person.
    pub parked: u64,
    /// Confirmed messages that wait for a person.
    pub dead: u64,
    /// Age of the oldest half or confirmed message.
    pub oldest_unfinished: Option<Duration>,
}

impl Stats {
    /// The count of one state.
    pub const fn count(&self, state: State) -> u64 {
        match state {
            State::Half => self.half,
            State::Confirmed => self.confirmed,
            State::Cancelled => self.cancelled,
            State::Delivered => self.delivered,
            State::Parked => self.parked,
            State::Dead => self.dead,
        }
    }

    pub(crate) const fn count_mut(&mut self, state: State) -> &mut u64 {
        match state {
            State::Half => &mut self.half,
            State::Confirmed => &mut self.confirmed,
            State::Cancelled => &mut self.cancelled,
            State::Delivered => &mut self.delivered,
            State::Parked => &mut self.parked,
            State::Dead => &mut self.dead,
        }
    }
}

/// A message as a person sees it. The payload is left out: it may be private.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageInfo {
    /// The message's id.
    pub id: MessageId,
    /// The id of the call that it belongs to.
    pub call_id: MessageId,
    /// Where it stands.
    pub state: State,
    /// The annotated function.
    pub function: String,
    /// Who can tell the outcome: `fence:<identity>`, `handler:<name>` or `nobody`.
    pub answered_by: String,
    /// Where it is to be sent.
    pub exchange: String,
    /// Where it is to be sent.
    pub routing_key: String,
    /// The business key.
    pub key: Option<String>,
    /// Questions asked while half, deliveries tried since.
    pub attempts: u32,
    /// How long ago it was stored, by the store's clock.
    pub age: Duration,
    /// The last failure, or an operator's word.
    pub reason: Option<String>,
}

/// A failure of the store. Credentials never appear in it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Locked, unreachable, timed out: the same may work later.
    #[error("{0}")]
    Unavailable(String),
    /// The tables are missing or of another version.
    #[error("{0}")]
    Schema(String),
    /// The database refused the statement; it will refuse it again.
    #[error("{0}")]
    Refused(String),
}

impl StoreError {
    pub(crate) fn into_error(self, what: &str) -> Error {
        let kind = match self {
            Self::Unavailable(_) | Self::Refused(_) => ErrorKind::Unavailable,
            Self::Schema(_) => ErrorKind::Schema,
        };
        Error::new(kind, what).with_source(self)
    }
}

/// The message store.
#[async_trait]
pub(crate) trait Store: fmt::Debug + Send + Sync {
    /// Creates or updates the tables. Safe to run by many processes at once.
    async fn migrate(&self) -> Result<(), StoreError>;

    /// Checks that the tables have the version that this crate knows.
    async fn check_schema(&self) -> Result<(), StoreError>;

    /// Errs when what is stored would not survive the process.
    async fn check_durable(&self) -> Result<(), StoreError>;

    /// Stores halves durably, all or none, held by us.
    async fn insert_halves(&self, halves: &[Half], hold: Hold) -> Result<(), StoreError>;

    /// Stores messages whose half is gone (a restored store) as confirmed, held by us.
    async fn insert_confirmed(&self, halves: &[Half], hold: Hold) -> Result<(), StoreError>;

    /// Applies `event` to rows, each under the condition that its state allows it. A row that
    /// becomes confirmed is held by `hold`, or free to be delivered by anyone without one.
    async fn transition(
        &self,
        event: Event,
        changes: &[Change],
        hold: Option<Hold>,
    ) -> Result<Vec<Applied>, StoreError>;

    /// Renews the leases of half messages, which have not been asked about then (also of none: that the store can be written to is what
    /// counts as contact), taking back what others may have taken over, and of
    /// confirmed ones that are still held by `hold.token`. Says which rows are ours now.
    async fn renew(&self, ids: &[MessageId], hold: Hold) -> Result<Renewed, StoreError>;

    /// Gives held rows back; rows that are no longer held so are left alone.
    async fn postpone(&self, postponements: &[Postponement]) -> Result<(), StoreError>;

    /// Takes due halves that one of `askable` can answer for. Counts one attempt for each.
    async fn claim_halves(
        &self,
        askable: &[AnsweredBy],
        bounds: Bounds,
        hold: Hold,
    ) -> Result<Claim, StoreError>;

    /// Takes due confirmed messages.
    async fn claim_confirmed(&self, bounds: Bounds, hold: Hold) -> Result<Claim, StoreError>;

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
    /// lapsed ones only until `take_over_until` by the database's clock.
    async fn overdue_halves(
        &self,
        age: Duration,
        limit: u32,
        answerable: &[AnsweredBy],
        take_over_until: Duration,
    ) -> Result<Vec<MessageId>, StoreError>;

    /// Which of these calls the store knows.
    async fn known_calls(&self, call_ids: &[MessageId]) -> Result<Vec<MessageId>, StoreError>;

    /// Due halves by who could answer for them, if anyone.
    async fn due_by_answerer(&self) -> Result<Vec<(String, u64)>, StoreError>;

    /// One message.
    async fn find(&self, id: MessageId) -> Result<Option<MessageInfo>, StoreError>;

    /// The newest messages in `state`, below `before` if given (keyset paging).
    async fn list(
        &self,
        state: State,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<MessageInfo>, StoreError>;

    /// Makes an unheld half or confirmed message due now. Says whether there was one.
    async fn hasten(&self, id: MessageId) -> Result<bool, StoreError>;

    /// Counts by state.
    async fn stats(&self) -> Result<Stats, StoreError>;

    /// Closes the connections.
    async fn close(&self);
}
