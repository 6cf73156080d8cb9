//! One question to a handler, and what follows from its answer.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::asker::{Asker, back, count};
use crate::check_back::Asked;
use crate::fault;
use crate::held::Row;
use crate::message::Outcome;
use crate::message::state::Event;
use crate::rules::answer::{Step, after_handler};
use crate::store::{Attempts, ClaimedRow, Hold, Release, Transition};
use crate::telemetry::catalogue::CHECK_BACK_DURATION;
use crate::telemetry::spans;
use crate::worker::panic_text;

/// A handler's answer.
#[derive(Debug)]
pub(super) struct HandlerAnswer {
    follows: Follows,
    /// Not brought to the store any more when the claim has lapsed: somebody else asks then.
    pub(super) until: Instant,
}

#[derive(Debug)]
enum Follows {
    Decided(Event, Row),
    AskAgain(Release),
}

/// A question to a handler.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) name: String,
    pub(super) row: ClaimedRow,
    /// The claim, and until when it surely lasts.
    pub(super) hold: Hold,
    pub(super) until: Instant,
}

impl Question {
    /// Asks beside others. `None`: this process does not have the handler.
    pub(super) async fn ask(self, asker: Arc<Asker>) -> Option<HandlerAnswer> {
        let _beside = asker.alone.beside_others().await;
        self.put(&asker, false).await
    }

    /// Asks while nothing else runs in the process, after that was counted, and brings the answer to the store. Returns it
    /// if the store failed over it.
    pub(super) async fn ask_alone(mut self, asker: Arc<Asker>) -> Option<HandlerAnswer> {
        let _alone = asker.alone.by_itself().await;
        let until = Instant::now() + self.hold.lease;
        match asker.held.store().enter(self.row.half.id, self.hold).await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                // It lapses, and is a suspect again.
                asker.held.log(&error);
                return None;
            }
        }
        self.until = until;
        let (id, attempts) = (self.row.half.id, self.row.attempts.saturating_add(1));
        tracing::info!(%id, attempts, "asking alone: the process that asked before has vanished");
        let answer = self.put(&asker, true).await?;
        // With the store before the next one is asked, over which the process may die.
        settle(&asker, vec![answer]).await.pop()
    }

    /// `counted`: this question counts already, whatever becomes of it.
    async fn put(self, asker: &Asker, counted: bool) -> Option<HandlerAnswer> {
        let Self { name, row, hold, until } = self;
        let (half, attempts, held_by) = (Arc::clone(&row.half), row.attempts.saturating_add(1), hold.token);
        let id = half.id;
        let handler = asker.handlers.get(&name).cloned()?;
        let question = Asked { row: Arc::new(row), data: asker.handlers.data.clone() };
        // In a task of its own, so that a panic is an answer like any other.
        let span = spans::check_back(&name, &half.message.headers, id, half.call_id, attempts);
        let asking = async move { (handler.ask)(question).await };
        let question = AbortOnDropHandle::new(tokio::spawn(asking.instrument(span)));
        let patience = asker.settings.handler_timeout;
        let began = Instant::now();
        let (outcome, why) = match tokio::time::timeout(patience, question).await {
            Ok(Ok(Ok(outcome))) => (outcome, format!("the handler `{name}` answered {outcome:?}")),
            Ok(Ok(Err(why))) => (Outcome::Unknown, format!("the handler `{name}` failed: {why}")),
            Ok(Err(failed)) => (Outcome::Unknown, format!("the handler `{name}` {}", describe(failed))),
            Err(_) => (Outcome::Unknown, format!("the handler `{name}` did not answer within {patience:?}")),
        };
        CHECK_BACK_DURATION.one(&name).record(began.elapsed());
        fault::point("tombstone-in");
        count(&name, outcome);
        let follows = match after_handler(outcome, attempts, asker.settings.check_back_attempts) {
            Step::Decide(event) => {
                Follows::Decided(event, Row { transition: Transition::of(id).because(why), half })
            }
            Step::DecideIfHeld(Event::Park) => {
                if !counted && let Err(error) = asker.held.store().enter(id, hold).await {
                    asker.held.log(&error);
                }
                let why = format!("asked {attempts} times without an answer; the last time {why}");
                let transition = Transition::of(id).held_by(held_by).because(why).counted_as(&name);
                Follows::Decided(Event::Park, Row { transition, half })
            }
            Step::DecideIfHeld(event) => {
                let transition = Transition::of(id).held_by(held_by).because(why);
                Follows::Decided(event, Row { transition, half })
            }
            Step::AskAgain => {
                let after = asker.settings.check_back_backoff.delay(attempts.saturating_sub(1));
                tracing::warn!(%id, attempts, why, retry_in = ?after, "a check-back got no answer");
                let spent = if counted { Attempts::Keep } else { Attempts::Spend };
                Follows::AskAgain(back(id, held_by, after, spent, why))
            }
        };
        Some(HandlerAnswer { follows, until })
    }
}

/// Brings answers of handlers to the store, those of a kind in one statement. Returns those over which the store
/// failed.
pub(super) async fn settle(asker: &Asker, answers: Vec<HandlerAnswer>) -> Vec<HandlerAnswer> {
    let mut decided: HashMap<(Event, bool), Vec<Row>> = HashMap::new();
    let mut again = Vec::new();
    let mut untils = HashMap::new();
    for HandlerAnswer { follows, until } in answers {
        match follows {
            Follows::Decided(event, row) => {
                untils.insert(row.transition.id, until);
                decided.entry((event, asker.is_for_our_relay(&row.half))).or_default().push(row);
            }
            Follows::AskAgain(back) => {
                untils.insert(back.id, until);
                again.push(back);
            }
        }
    }
    let mut failed = Vec::new();
    for ((event, _), answers) in decided {
        for row in asker.decide(event, answers, false).await {
            failed.push(HandlerAnswer {
                until: untils[&row.transition.id],
                follows: Follows::Decided(event, row),
            });
        }
    }
    for back in asker.held.give_back(again).await {
        failed.push(HandlerAnswer { until: untils[&back.id], follows: Follows::AskAgain(back) });
    }
    failed
}

fn describe(failed: tokio::task::JoinError) -> String {
    match failed.try_into_panic() {
        Ok(panic) => format!("panicked: {}", panic_text(panic.as_ref())),
        Err(failed) => failed.to_string(),
    }
}
