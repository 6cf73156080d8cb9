//! What the modelled world consists of: everything that a decision anywhere depends on.

use std::fmt;

use super::rules::{Bug, Model};
use crate::message::state::{Applied, Event, MessageState};
use crate::rules::body_state::{Commit, Withheld};
use crate::rules::ending::Ending;

/// One moment. Slots that the configuration does not use stay `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    /// The process that runs the bodies. Others check and deliver beside it, and after it.
    pub(super) alive: bool,
    pub(super) calls: [Option<Call>; 2],
    /// The halves are older than the horizon.
    pub(super) overdue: bool,
}

/// One run of an annotated function.
#[expect(clippy::struct_excessive_bools, reason = "as the runtime's own state has them")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Call {
    pub(super) body: Body,
    pub(super) begun: bool,
    /// The last transaction is its caller's.
    pub(super) entered: bool,
    pub(super) withheld: Withheld,
    /// What the body means by it, whatever is made of that.
    pub(super) meant: Withheld,
    /// A payload is staged in memory.
    pub(super) amended: bool,
    pub(super) commit: Commit,
    pub(super) effect: Effect,
    pub(super) fence: Fence,
    /// The janitor has deleted the fence row.
    pub(super) pruned: bool,
    pub(super) truth: Truth,
    pub(super) messages: [Option<Message>; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Body {
    /// The half messages are on their way to the store.
    Storing,
    /// They still are, and nobody waits for them any more.
    NeverRan,
    Running,
    /// In an open transaction.
    InTransaction,
    /// Waits for the reply to its commit, or to what it sent elsewhere.
    Waiting,
    Over,
}

/// The business action, where it takes place. It may outlive its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Effect {
    None,
    /// An open transaction, with the fence row in it.
    Open,
    /// The commit, or the request, is in flight.
    Sent {
        withheld: bool,
        amended: bool,
    },
}

/// The fence row, as it is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fence {
    None,
    Committed { amended: bool },
    Withheld,
    Tombstone,
}

/// What really happened. Nothing in the protocol may look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Truth {
    Nothing,
    TookEffect { withheld: bool, amended: bool },
}

/// A message: its row, and who is busy with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Message {
    pub(super) row: Option<Row>,
    pub(super) report: Option<Report>,
    /// The question of the body's own process.
    pub(super) own: Asker,
    pub(super) checkers: [Asker; 2],
    /// The first is in the body's process.
    pub(super) relays: [Relay; 2],
    pub(super) acknowledged: bool,
    /// A person said that it took effect, where nobody else can know.
    pub(super) vouched: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Row {
    pub(super) state: MessageState,
    pub(super) holder: Holder,
    /// Its lease has lapsed, or its pause is over.
    pub(super) due: bool,
    pub(super) attempts: u8,
    /// Which payload it has.
    pub(super) amended: bool,
    /// Nobody answers for it.
    pub(super) forgotten: bool,
}

/// Whose token is in the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    Nobody,
    /// The body's process: for its bodies, its questions and its relay.
    Process,
    Checker(u8),
    /// Another process's relay.
    Relay,
    /// Somebody who will not come back.
    Gone,
    /// A checker that will not.
    GoneChecker,
}

/// What the reporter has yet to bring to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Report {
    Confirm { amended: bool },
    Cancel,
    AskFence,
    AwaitCommit,
    AskLater,
    ParkForgotten,
}

/// A question about a half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Asker {
    Idle,
    /// Of a call whose caller has still to commit: reads the fence, and closes nothing.
    Awaiting,
    /// Of a half whose last asker has vanished: to be counted first, and asked alone.
    Entering,
    Asking {
        /// How many questions before this one count.
        before: u8,
        /// This one counts already.
        counted: bool,
    },
    /// Has an answer that the store does not have yet.
    Deciding {
        event: Event,
        if_held: bool,
        amended: Option<bool>,
    },
    GivingBack {
        spend: bool,
    },
}

/// A delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Relay {
    Idle,
    Publishing {
        attempt: u8,
        amended: bool,
    },
    /// Knows what became of it; the store does not yet.
    Noting {
        attempt: u8,
        publication: Published,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Published {
    Acknowledged,
    Failed,
    NotNow,
}

impl Call {
    pub(super) const fn is_live(&self) -> bool {
        matches!(self.body, Body::Running | Body::InTransaction | Body::Waiting)
    }

    pub(super) fn messages(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().flatten()
    }

    /// Nobody works on the call any more.
    pub(super) fn is_quiet(&self) -> bool {
        self.body == Body::Over && self.effect == Effect::None && self.messages().all(Message::is_quiet)
    }

    /// In its caller's transaction, and not done.
    pub(super) fn is_in_its_callers(&self) -> bool {
        self.entered && self.effect == Effect::Open
    }

    /// The body ends, and everything about it is reported.
    pub(super) fn end(&mut self, model: &Model, ending: Ending) {
        self.body = Body::Over;
        let report = model.report(self, ending);
        for message in self.messages.iter_mut().flatten() {
            message.report = Some(report);
        }
    }
}

impl Row {
    /// As the body's process stores it.
    pub(super) const fn new(state: MessageState) -> Self {
        let holder = Holder::Process;
        Self { state, holder, due: false, attempts: 0, amended: false, forgotten: false }
    }
}

impl Message {
    pub(super) const NEW: Self = Self {
        row: None,
        report: None,
        own: Asker::Idle,
        checkers: [Asker::Idle; 2],
        relays: [Relay::Idle; 2],
        acknowledged: false,
        vouched: false,
    };

    fn is_quiet(&self) -> bool {
        self.report.is_none()
            && self.own == Asker::Idle
            && self.checkers == [Asker::Idle; 2]
            && self.relays == [Relay::Idle; 2]
    }

    pub(super) fn state(&self) -> Option<MessageState> {
        self.row.map(|row| row.state)
    }

    /// One conditional `UPDATE`, as every database does it.
    pub(super) fn transition(&mut self, model: &Model, event: Event, change: Change) -> Applied {
        let Some(row) = &mut self.row else { return Applied::Missing };
        let target = match model.apply(event, row.state) {
            Ok(target) => target,
            Err(applied) => return applied,
        };
        if change.held_by.is_some_and(|token| token != row.holder) {
            return Applied::Conflict(row.state);
        }
        let confirmed = target == MessageState::Confirmed;
        row.state = target;
        row.amended = change.amended.unwrap_or(row.amended);
        row.forgotten |= change.forgotten;
        row.holder = if confirmed { change.hold } else { Holder::Nobody };
        row.due = confirmed && change.hold == Holder::Nobody;
        row.attempts = 0;
        Applied::Moved
    }

    /// Stores the half again, should it be gone.
    pub(super) fn make_sure(&mut self, model: &Model) {
        if self.row.is_none() && !model.has(Bug::GoneHalfIsNotStoredAgain) {
            self.row = Some(Row::new(MessageState::Half));
        }
    }

    /// Gives a held row back.
    pub(super) fn release(&mut self, held_by: Holder, spend: bool) {
        if let Some(row) = &mut self.row
            && row.holder == held_by
            && matches!(row.state, MessageState::Half | MessageState::Confirmed)
        {
            row.holder = Holder::Nobody;
            row.due = false;
            row.attempts += u8::from(spend);
        }
    }

    /// A claim, a renewal or an insert: it is `holder`'s from now on.
    pub(super) fn hold(&mut self, holder: Holder) {
        if let Some(row) = &mut self.row {
            row.holder = holder;
            row.due = false;
        }
    }

    /// The body's process makes sure of it.
    pub(super) fn renew(&mut self) {
        self.hold(Holder::Process);
        if let Some(row) = &mut self.row
            && row.state == MessageState::Half
        {
            row.attempts = 0;
        }
    }

    /// What its asker counts before it asks. Says how many there were before, if it still holds the row.
    pub(super) fn enter(&mut self, holder: Holder) -> Option<u8> {
        let row = self.row.as_mut().filter(|row| row.holder == holder && row.state == MessageState::Half)?;
        row.attempts += 1;
        row.due = false;
        Some(row.attempts - 1)
    }

    /// `holder` does not come back.
    pub(super) fn abandon(&mut self, holder: Holder) {
        if let Some(row) = &mut self.row
            && row.holder == holder
        {
            row.holder =
                if matches!(holder, Holder::Checker(_)) { Holder::GoneChecker } else { Holder::Gone };
        }
    }
}

/// The rest of a transition.
#[derive(Clone, Copy)]
pub(super) struct Change {
    pub(super) held_by: Option<Holder>,
    pub(super) hold: Holder,
    pub(super) amended: Option<bool>,
    pub(super) forgotten: bool,
}

impl Change {
    pub(super) const PLAIN: Self =
        Self { held_by: None, hold: Holder::Nobody, amended: None, forgotten: false };
}

/// For a person who reads a counterexample.
impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.alive {
            f.write_str("process dead; ")?;
        }
        for call in self.calls.iter().flatten() {
            write!(f, "body {:?}, fence {:?}, truth {:?}", call.body, call.fence, call.truth)?;
            for message in call.messages() {
                match message.row {
                    Some(row) => write!(f, " | {}, held by {:?}", row.state, row.holder)?,
                    None => f.write_str(" | no row")?,
                }
                if let Some(report) = message.report {
                    write!(f, ", to be reported: {report:?}")?;
                }
                for asker in [message.own].iter().chain(&message.checkers).filter(|one| **one != Asker::Idle)
                {
                    write!(f, ", {asker:?}")?;
                }
                for relay in message.relays.iter().filter(|one| **one != Relay::Idle) {
                    write!(f, ", {relay:?}")?;
                }
            }
        }
        Ok(())
    }
}
