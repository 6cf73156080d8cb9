//! What it takes to ask, and what follows from answers.

use std::sync::Arc;
use std::time::Duration;

use crate::check_back::registry::Registry;
use crate::fault;
use crate::fence::registry::Fences;
use crate::held::{HeldStore, Row, Tried};
use crate::message::service::Services;
use crate::message::state::{Applied, Event, MessageState};
use crate::message::{AnsweredBy, Half, MessageId, Outcome};
use crate::settings::Settings;
use crate::store::{Attempts, Release, Token};
use crate::telemetry::catalogue::CHECK_BACKS;
use crate::telemetry::labels::Answer;
use crate::transport::Transport;
use crate::worker::alone::Alone;
use crate::worker::pauses::Pauses;
use crate::worker::relay::slots::RelayQueue;

/// Shared by the checker and all questions that are under way.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) settings: Settings,
    pub(crate) services: Services,
    pub(crate) held: HeldStore,
    pub(crate) fences: Arc<Fences>,
    pub(crate) handlers: Arc<Registry>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) relay: RelayQueue,
    /// Lets a suspect run alone.
    pub(crate) alone: Alone,
    pub(crate) pauses: Pauses,
}

impl Asker {
    /// Whether it may go to our relay at once. What has a delay waits in the table.
    pub(super) fn is_for_our_relay(&self, half: &Half) -> bool {
        self.services.has(&half.service) && half.message.schedule.not_before.is_none()
    }

    /// Who answers, as the metrics call it.
    pub(super) fn name_of<'a>(&'a self, answered_by: &'a AnsweredBy) -> &'a str {
        match answered_by {
            AnsweredBy::Fence(identity) => self.fences.name(*identity).unwrap_or("unknown"),
            AnsweredBy::Handler { name, .. } => name,
            AnsweredBy::Nobody => "nobody",
        }
    }

    /// Applies answers. What they confirm goes to the relay, as far as there is room: it was read already. While the
    /// transport takes nothing, it is anybody's: another process's may. So is always what belongs to another service, whose
    /// own relay delivers it. Returns those over which the store failed.
    ///
    /// `live`: about calls that this process has just run. Then also those that are confirmed and gone.
    pub(super) async fn decide(&self, event: Event, answers: Vec<Row>, live: bool) -> Vec<Row> {
        let transitions: Vec<_> = answers.iter().map(|row| row.transition.clone()).collect();
        if live && fault::bug("answer-forgotten") {
            // What the store does not take at the first try is forgotten.
            let _ = self.held.store().transition(event, &transitions, None).await;
            return Vec::new();
        }
        let is_ours = answers.iter().all(|row| self.is_for_our_relay(&row.half));
        let goes_on = event.target() == MessageState::Confirmed && is_ours && self.transport.capacity() > 0;
        let wanted = if goes_on { &answers[..] } else { &[] };
        let mut slots = self.relay.reserve(wanted.iter().map(Row::size));
        let (ours, anybodys) = transitions.split_at(slots.len());
        let mut tried = self.held.settle(event, ours, Some(self.held.hold())).await;
        for (row, tried) in answers.iter().zip(&tried) {
            if let Tried::Applied(Applied::Moved, deadline) = tried {
                slots.enqueue(row.amended(), *deadline);
            }
        }
        drop(slots);
        tried.extend(self.held.settle(event, anybodys, None).await);
        let mut failed = Vec::new();
        for (row, tried) in answers.into_iter().zip(tried) {
            tracing::debug!(id = %row.transition.id, ?event, ?tried, "a check-back settled a message");
            match tried {
                Tried::Failed => failed.push(row),
                // Of a store that was restored or that failed over.
                Tried::Applied(Applied::Missing, _) if live && event.target() == MessageState::Confirmed => {
                    failed.push(row);
                }
                Tried::Applied(..) | Tried::Refused => {}
            }
        }
        failed
    }
}

/// A half that is given back, to be asked about again.
pub(super) fn back(
    id: MessageId,
    held_by: Token,
    after: Duration,
    attempts: Attempts,
    reason: impl Into<Option<String>>,
) -> Release {
    Release { id, held_by, after, attempts, reason: reason.into().map(Into::into) }
}

/// Counts an answer.
pub(super) fn count(name: &str, outcome: Outcome) {
    let answer = match outcome {
        Outcome::Confirm => Answer::Confirm,
        Outcome::Cancel => Answer::Cancel,
        Outcome::Unknown => Answer::Unknown,
    };
    CHECK_BACKS.pick(name, answer).increment(1);
}
