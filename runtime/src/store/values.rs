//! What goes over the port: in, what is to be done to which row; out, rows and counts.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::message::state::MessageState;
use crate::message::{AnsweredBy, CallId, Half, MessageId};

/// Proves who holds a row. One for all bodies of a process, of UUID version 4; a fresh one for every claim of a checker,
/// of version 7. So a row shows who held it last, also when that one has vanished.
pub(crate) type Token = Uuid;

/// Who holds a row, or held it when it was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A body, or a delivery.
    Process,
    /// A checker: the question may be why it has vanished.
    Checker,
}

impl Holder {
    pub(crate) fn of(token: Token) -> Self {
        if token.get_version_num() == 7 { Self::Checker } else { Self::Process }
    }

    /// A token for a checker's claim.
    pub(crate) fn checkers_token() -> Token {
        Uuid::now_v7()
    }
}

/// Makes rows ours until `lease` from now, by the database's clock.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    pub(crate) token: Token,
    pub(crate) lease: Duration,
}

/// Why something became of a row, for an operator who reads it later. Other people's error texts get
/// here: so it is bounded, and has no NUL, which PostgreSQL's text cannot hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason(String);

impl Reason {
    const LONGEST: usize = 2000;

    /// Makes texts plainer that a database refused, which may be as old as Latin 1: at first without what is not
    /// ASCII, then none at all. Says whether there was anything to change.
    pub(super) fn simplify<'r>(reasons: impl Iterator<Item = &'r mut Option<Self>>) -> bool {
        let mut there: Vec<_> = reasons.filter(|reason| reason.is_some()).collect();
        let is_plain = |reason: &Option<Self>| reason.as_ref().is_none_or(|Self(text)| text.is_ascii());
        let all_plain = there.iter().all(|reason| is_plain(reason));
        for reason in there.iter_mut().filter(|reason| all_plain || !is_plain(reason)) {
            **reason = reason
                .take()
                .filter(|_| !all_plain)
                .map(|Self(text)| Self(text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()));
        }
        !there.is_empty()
    }
}

impl<T: Into<String>> From<T> for Reason {
    fn from(text: T) -> Self {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(Self::LONGEST));
        if text.contains('\0') {
            text = text.replace('\0', "\u{fffd}");
        }
        Self(text)
    }
}

impl Deref for Reason {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// One row's part in a transition.
#[derive(Clone, Debug)]
pub(crate) struct Transition {
    pub(crate) id: MessageId,
    /// When given, the row moves only if it is still held with this token.
    pub(crate) held_by: Option<Token>,
    /// When given, the row moves only by a connection that was made by then: see the store's
    /// [`troubles`](super::Store::troubles).
    pub(crate) undisturbed_since: Option<u64>,
    /// Replaces the payload (an amended message).
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) reason: Option<Reason>,
    /// Replaces who can tell the outcome.
    pub(crate) answered_by: Option<AnsweredBy>,
    /// Whose message it is, in the metrics: the exchange of a dead one, and who had no answer about a parked one.
    pub(crate) counted_as: Option<Box<str>>,
}

impl Transition {
    pub(crate) const fn of(id: MessageId) -> Self {
        Self {
            id,
            held_by: None,
            undisturbed_since: None,
            payload: None,
            reason: None,
            answered_by: None,
            counted_as: None,
        }
    }

    #[cfg(feature = "mysql")]
    /// Whether it changes nothing but the state, whoever holds the row.
    pub(crate) const fn is_plain(&self) -> bool {
        let Self { id: _, held_by, undisturbed_since: _, payload, reason, answered_by, counted_as: _ } = self;
        held_by.is_none() && payload.is_none() && reason.is_none() && answered_by.is_none()
    }

    #[cfg(any(feature = "mysql", feature = "postgres"))]
    /// Since when the way to the store must be undisturbed for all of these to be moved.
    pub(crate) fn all_undisturbed_since(transitions: &[Self]) -> Option<u64> {
        transitions.iter().filter_map(|transition| transition.undisturbed_since).min()
    }

    pub(crate) fn counted_as(mut self, whose: &str) -> Self {
        self.counted_as = Some(whose.into());
        self
    }

    pub(crate) fn answered_by(mut self, answered_by: AnsweredBy) -> Self {
        self.answered_by = Some(answered_by);
        self
    }

    pub(crate) const fn held_by(mut self, token: Token) -> Self {
        self.held_by = Some(token);
        self
    }

    /// What it asks for is known of the action before the way to the store was interrupted: it counts on no server that
    /// took over since.
    pub(crate) const fn undisturbed_since(mut self, troubles: u64) -> Self {
        self.undisturbed_since = Some(troubles);
        self
    }

    pub(crate) fn because(mut self, reason: impl Into<Reason>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    pub(crate) fn amended(mut self, payload: Option<Vec<u8>>) -> Self {
        self.payload = payload;
        self
    }
}

impl Hold {
    /// The same for longer than the delays of these messages: should their process vanish, they are due after it.
    pub(crate) fn beyond_delays(self, halves: &[&Half]) -> Self {
        let delays = halves.iter().filter_map(|half| half.message.schedule.delay());
        Self { lease: delays.fold(self.lease, Duration::max), ..self }
    }
}

/// Whether a change must be on disk when it is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    Now,
    /// Soon is enough, where the database can tell the two apart.
    Later,
}

/// Gives a held row back, to be taken up again later by anyone.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    pub(crate) id: MessageId,
    pub(crate) held_by: Token,
    pub(crate) after: Duration,
    pub(crate) attempts: Attempts,
    pub(crate) reason: Option<Reason>,
}

/// What a release does to the row's count of attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempts {
    Keep,
    /// One more delivery was tried, or one more question was answered.
    Spend,
}

/// A row as it was read or claimed.
#[derive(Clone, Debug)]
pub(crate) struct ClaimedRow {
    pub(crate) half: Arc<Half>,
    /// While half, questions that got no clear answer, and those that were entered alone; since then, delivery attempts.
    pub(crate) attempts: u32,
    pub(crate) age: Duration,
    /// Whom the row was taken over from: a holder whose lease has lapsed.
    pub(crate) taken_over: Option<Holder>,
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
    pub(crate) rows: Vec<ClaimedRow>,
    pub(crate) undecodable: Vec<Undecodable>,
}

/// How much to claim at once, and from whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClaimLimits {
    pub(crate) rows: u32,
    pub(crate) bytes: usize,
    /// Rows may be taken over from holders whose lease has lapsed before this time of the database's
    /// clock; `None`: none may.
    pub(crate) lapsed_before: Option<Duration>,
}

/// A finished message, old enough to be deleted with its fence row.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) id: MessageId,
    pub(crate) call_id: CallId,
    pub(crate) answered_by: Option<AnsweredBy>,
}

/// What the renewal of leases found.
#[derive(Debug)]
pub(crate) struct Renewed {
    pub(crate) ids: Vec<MessageId>,
    /// Rows that are still ours, and were locked by somebody else: not renewed yet.
    pub(crate) locked: Vec<MessageId>,
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
    /// Of these, how many have a delay that is not over.
    pub delayed: u64,
    /// Cancelled, not yet pruned.
    pub cancelled: u64,
    /// Delivered, not yet pruned.
    pub delivered: u64,
    /// Half messages that wait for an operator.
    pub parked: u64,
    /// Confirmed messages that wait for an operator.
    pub dead: u64,
    /// Not delivered before they expired, not yet pruned.
    pub expired: u64,
    /// Age of the oldest half or confirmed message. That of one with a delay begins when the delay is over.
    pub oldest_unfinished: Option<Duration>,
}

/// Counts of what is not delivered or cancelled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfinished {
    /// Stored, outcome undecided.
    pub half: u64,
    /// Confirmed, not yet delivered.
    pub confirmed: u64,
    /// Of these, how many have a delay that is not over.
    pub delayed: u64,
    /// Half messages that wait for an operator.
    pub parked: u64,
    /// Confirmed messages that wait for an operator.
    pub dead: u64,
    /// Age of the oldest half or confirmed message. That of one with a delay begins when the delay is over.
    pub oldest: Option<Duration>,
}

impl From<Stats> for Unfinished {
    fn from(stats: Stats) -> Self {
        let Stats { half, confirmed, delayed, parked, dead, oldest_unfinished: oldest, .. } = stats;
        Self { half, confirmed, delayed, parked, dead, oldest }
    }
}

impl Stats {
    /// The count of one state.
    pub const fn count(&self, state: MessageState) -> u64 {
        match state {
            MessageState::Half => self.half,
            MessageState::Confirmed => self.confirmed,
            MessageState::Cancelled => self.cancelled,
            MessageState::Delivered => self.delivered,
            MessageState::Parked => self.parked,
            MessageState::Dead => self.dead,
            MessageState::Expired => self.expired,
        }
    }

    pub(crate) const fn count_mut(&mut self, state: MessageState) -> &mut u64 {
        match state {
            MessageState::Half => &mut self.half,
            MessageState::Confirmed => &mut self.confirmed,
            MessageState::Cancelled => &mut self.cancelled,
            MessageState::Delivered => &mut self.delivered,
            MessageState::Parked => &mut self.parked,
            MessageState::Dead => &mut self.dead,
            MessageState::Expired => &mut self.expired,
        }
    }
}

/// What is worth a look every few seconds. See [`Admin::gauges`](crate::Admin::gauges).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gauges {
    /// Stored, outcome undecided.
    pub half: Gauge,
    /// Confirmed, not yet delivered.
    pub confirmed: Gauge,
    /// Half messages that wait for an operator.
    pub parked: Gauge,
    /// Confirmed messages that wait for an operator.
    pub dead: Gauge,
    /// Halves that have been due for more than a minute, by who could answer for them, if anyone.
    pub unanswered: Vec<(String, u64)>,
}

/// Of the messages in one state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gauge {
    /// How many: counted up to 100 000. The rest is about those that were counted.
    pub count: u64,
    /// How old the oldest is; that of one with a delay begins when the delay is over.
    pub oldest: Option<Duration>,
    /// For how long the first has been due that nobody has taken up: the lag. One that is held, or waits for its next
    /// attempt, is not due.
    pub due_for: Option<Duration>,
}

impl Gauges {
    /// For how long the first half or confirmed message has been due that nobody has taken up.
    pub fn lag(&self) -> Option<Duration> {
        self.half.due_for.max(self.confirmed.due_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_becomes_plainer_and_is_dropped_in_the_end() {
        let mut reasons = [Some(Reason::from("a → b")), None, Some(Reason::from("plain"))];
        let mut texts = || {
            let changed = Reason::simplify(reasons.iter_mut());
            changed.then(|| reasons.each_ref().map(|reason| reason.as_deref().map(str::to_owned)))
        };
        assert_eq!(texts(), Some([Some("a ? b".into()), None, Some("plain".into())]));
        assert_eq!(texts(), Some([None, None, None]));
        assert_eq!(texts(), None);
    }
}
