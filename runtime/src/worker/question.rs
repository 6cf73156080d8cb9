//! One question of the checker: to a fence or to a handler, and what follows from the answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::answer::{Step, after_handler};
use super::persist::{Row, Tried, give_back, leave_all, persist, pursue, store_anew};
use super::places::Places;
use super::{log_store_error, panic_text};
use crate::check_back::{Asked, Outcome};
use crate::core::Core;
use crate::fault;
use crate::fence::FenceDatabase;
use crate::fence::verdict::Verdict;
use crate::message::state::{Applied, Event};
use crate::message::{Half, MessageId};
use crate::store::{Attempts, Change, Hold, Postponement, Stored, Token};

const WORKER: &str = "checker";

/// A half to be settled by its fence.
pub(super) struct Suspect {
    pub(super) half: Arc<Half>,
    pub(super) held_by: Token,
    pub(super) attempts: u32,
}

/// Asks a fence about several halves.
pub(super) async fn ask_fence(core: &Core, identity: Uuid, suspects: &[Suspect]) -> Vec<Verdict> {
    let verdicts = match core.fences.by_identity(identity) {
        Some(fence) => {
            let calls: Vec<_> = suspects.iter().map(|suspect| suspect.half.call_id).collect();
            fault::pending("tombstone-sent", ask(fence.as_ref(), identity, &calls)).await
        }
        None => {
            vec![Verdict::Unknown("this process does not have the fence's database".into()); suspects.len()]
        }
    };
    fault::point("tombstone-in");
    verdicts
}

/// Applies a fence's verdicts. About calls that this process has just run, `live`, they are kept until the store has
/// them: it may have lost the halves, as one that was restored or that failed over, and then nobody else would ask.
pub(super) async fn apply_verdicts(core: &Core, suspects: Vec<Suspect>, verdicts: Vec<Verdict>, live: bool) {
    let mut settled: HashMap<(Event, bool), Vec<Row>> = HashMap::new();
    let mut unsettled = Vec::new();
    for (suspect, verdict) in suspects.into_iter().zip(verdicts) {
        count(verdict.outcome());
        let event = verdict.event();
        let (payload, why) = match verdict {
            Verdict::Committed { amended } => (amended, "the fence: committed".to_owned()),
            Verdict::Withheld => (None, "the fence: nothing to send".into()),
            Verdict::Closed => (None, "the fence: not committed, and closed".into()),
            Verdict::Unknown(why) => (None, why),
        };
        match event {
            Some(event) => {
                let change = Change::of(suspect.half.id).amended(payload).because(why);
                // By whose they are, since only our own go to our relay.
                let is_ours = core.services.has(&suspect.half.service);
                settled.entry((event, is_ours)).or_default().push(Row { change, half: suspect.half });
            }
            None => unsettled.push((suspect, why)),
        }
    }
    let mut pursuits = Vec::new();
    for ((event, _), settled) in settled {
        let failed = decide(core, event, settled, live).await;
        if live {
            pursuits.push(pursue(core, WORKER, event, failed));
        }
    }
    tokio::join!(ask_again(core, unsettled, live), join_all(pursuits));
}

/// Applies answers. What they confirm goes to the relay, as far as there is room: it was read already. While
/// the transport takes nothing, it is anybody's: another process's may. So is always what belongs to another
/// service, whose own relay delivers it. Returns those over which the store failed.
async fn decide(core: &Core, event: Event, answers: Vec<Row>, live: bool) -> Vec<Row> {
    let changes: Vec<_> = answers.iter().map(|row| row.change.clone()).collect();
    if live && fault::bug("answer-forgotten") {
        // What the store does not take at the first try is forgotten.
        let _ = core.store.transition(event, &changes, None).await;
        return Vec::new();
    }
    let is_ours = answers.iter().all(|row| core.services.has(&row.half.service));
    let goes_on = event == Event::CheckBackConfirms && is_ours && core.transport.capacity() > 0;
    let wanted = if goes_on { &answers[..] } else { &[] };
    let mut places = Places::reserve(core, wanted.iter().map(Row::size));
    let (ours, anybodys) = changes.split_at(places.len());
    let mut tried = persist(core, WORKER, event, ours, Some(core.leases.hold())).await;
    for (row, tried) in answers.iter().zip(&tried) {
        if let Tried::Applied(Applied::Moved, deadline) = tried {
            places.hand_on(row.amended(), *deadline);
        }
    }
    drop(places);
    tried.extend(persist(core, WORKER, event, anybodys, None).await);
    let mut failed = Vec::new();
    for (row, tried) in answers.into_iter().zip(tried) {
        tracing::debug!(id = %row.change.id, ?event, ?tried, "a check-back settled a message");
        match tried {
            Tried::Failed => failed.push(row),
            Tried::Applied(Applied::Missing, _) if live && event == Event::CheckBackConfirms => {
                store_anew(core, WORKER, &row.amended()).await;
            }
            Tried::Applied(..) | Tried::Refused => {}
        }
    }
    failed
}

/// A fence gave no answer. Messages that this process has in memory are stored again first.
async fn ask_again(core: &Core, unsettled: Vec<(Suspect, String)>, live: bool) {
    let back = unsettled.into_iter().map(|(suspect, why)| {
        let Suspect { half, held_by, attempts } = suspect;
        let after = core.settings.check_back_backoff.delay(attempts);
        tracing::info!(id = %half.id, why, retry_in = ?after, "a fence gave no answer yet");
        let back = back(half.id, held_by, after, Attempts::Spend, why);
        (half, back)
    });
    let back: Vec<_> = back.collect();
    if live {
        leave_all(core, WORKER, back).await;
    } else {
        // What the store fails over lapses, and is asked about again.
        give_back(core, WORKER, back.into_iter().map(|(_, back)| back).collect()).await;
    }
}

async fn ask(fence: &dyn FenceDatabase, identity: Uuid, calls: &[MessageId]) -> Vec<Verdict> {
    if !fault::bug("fence-read") {
        return fence.ask(identity, calls).await;
    }
    let mut verdicts = Vec::new();
    for call in calls {
        verdicts.push(fence.read(identity, *call).await.unwrap_or(Verdict::Closed));
    }
    verdicts
}

/// A handler's answer.
#[derive(Debug)]
pub(super) struct Answer {
    follows: Follows,
    /// Not brought to the store any more when the claim has lapsed: somebody else asks then.
    pub(super) until: Instant,
}

#[derive(Debug)]
enum Follows {
    Decided(Event, Row),
    AskAgain(Postponement),
}

/// A question to a handler.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) name: String,
    pub(super) row: Stored,
    /// The claim, and until when it surely lasts.
    pub(super) hold: Hold,
    pub(super) until: Instant,
}

impl Question {
    /// Asks beside others. `None`: this process does not have the handler.
    pub(super) async fn ask(self, core: Arc<Core>) -> Option<Answer> {
        let _beside = core.alone.beside_others().await;
        self.put(&core, false).await
    }

    /// Asks while nothing else runs in the process, after that was counted, and brings the answer to the store. Returns it
    /// if the store failed over it.
    pub(super) async fn ask_alone(mut self, core: Arc<Core>) -> Option<Answer> {
        let _alone = core.alone.by_itself().await;
        let until = Instant::now() + self.hold.lease;
        match core.store.enter(self.row.half.id, self.hold).await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                // It lapses, and is a suspect again.
                log_store_error(WORKER, &error);
                return None;
            }
        }
        self.until = until;
        let (id, attempts) = (self.row.half.id, self.row.attempts.saturating_add(1));
        tracing::info!(%id, attempts, "asking alone: the process that asked before has vanished");
        let answer = self.put(&core, true).await?;
        // With the store before the next one is asked, over which the process may die.
        settle(&core, vec![answer]).await.pop()
    }

    /// `counted`: this question counts already, whatever becomes of it.
    async fn put(self, core: &Core, counted: bool) -> Option<Answer> {
        let Self { name, row, hold, until } = self;
        let (half, attempts, held_by) = (Arc::clone(&row.half), row.attempts.saturating_add(1), hold.token);
        let id = half.id;
        let handler = core.handlers.get(&name).cloned()?;
        let asked = Asked { row: Arc::new(row), data: core.handlers.data.clone() };
        // In a task of its own, so that a panic is an answer like any other.
        let question = AbortOnDropHandle::new(tokio::spawn(async move { (handler.ask)(asked).await }));
        let patience = core.settings.handler_timeout;
        let (outcome, why) = match tokio::time::timeout(patience, question).await {
            Ok(Ok(Ok(outcome))) => (outcome, format!("the handler `{name}` answered {outcome:?}")),
            Ok(Ok(Err(why))) => (Outcome::Unknown, format!("the handler `{name}` failed: {why}")),
            Ok(Err(failed)) => (Outcome::Unknown, format!("the handler `{name}` {}", describe(failed))),
            Err(_) => (Outcome::Unknown, format!("the handler `{name}` did not answer within {patience:?}")),
        };
        fault::point("tombstone-in");
        count(outcome);
        let follows = match after_handler(outcome, attempts, core.settings.check_back_attempts) {
            Step::Decide(event) => Follows::Decided(event, Row { change: Change::of(id).because(why), half }),
            Step::DecideIfHeld(Event::Park) => {
                if !counted && let Err(error) = core.store.enter(id, hold).await {
                    log_store_error(WORKER, &error);
                }
                let why = format!("asked {attempts} times without an answer; the last time {why}");
                Follows::Decided(Event::Park, Row { change: parking(id, held_by, why), half })
            }
            Step::DecideIfHeld(event) => {
                let change = Change::of(id).held_by(held_by).because(why);
                Follows::Decided(event, Row { change, half })
            }
            Step::AskAgain => {
                let after = core.settings.check_back_backoff.delay(attempts.saturating_sub(1));
                tracing::warn!(%id, attempts, why, retry_in = ?after, "a check-back got no answer");
                let spent = if counted { Attempts::Keep } else { Attempts::Spend };
                Follows::AskAgain(back(id, held_by, after, spent, why))
            }
        };
        Some(Answer { follows, until })
    }
}

/// Brings answers of handlers to the store, those of a kind in one statement. Returns those over which the store
/// failed.
pub(super) async fn settle(core: &Core, answers: Vec<Answer>) -> Vec<Answer> {
    let mut decided: HashMap<Event, Vec<Row>> = HashMap::new();
    let mut again = Vec::new();
    let mut untils = HashMap::new();
    for Answer { follows, until } in answers {
        match follows {
            Follows::Decided(event, row) => {
                untils.insert(row.change.id, until);
                decided.entry(event).or_default().push(row);
            }
            Follows::AskAgain(back) => {
                untils.insert(back.id, until);
                again.push(back);
            }
        }
    }
    let mut failed = Vec::new();
    for (event, answers) in decided {
        for row in decide(core, event, answers, false).await {
            failed.push(Answer { until: untils[&row.change.id], follows: Follows::Decided(event, row) });
        }
    }
    for back in give_back(core, WORKER, again).await {
        failed.push(Answer { until: untils[&back.id], follows: Follows::AskAgain(back) });
    }
    failed
}

fn describe(failed: tokio::task::JoinError) -> String {
    match failed.try_into_panic() {
        Ok(panic) => format!("panicked: {}", panic_text(panic.as_ref())),
        Err(failed) => failed.to_string(),
    }
}

fn count(outcome: Outcome) {
    let outcome = match outcome {
        Outcome::Confirm => "confirm",
        Outcome::Cancel => "cancel",
        Outcome::Unknown => "unknown",
    };
    metrics::counter!("transactional_message_check_backs_total", "outcome" => outcome).increment(1);
}

pub(super) async fn park(core: &Core, id: MessageId, held_by: Token, reason: String) {
    // What the store fails over lapses, and comes again.
    persist(core, WORKER, Event::Park, &[parking(id, held_by, reason)], None).await;
}

fn parking(id: MessageId, held_by: Token, reason: String) -> Change {
    tracing::error!(%id, reason, "a half message is parked: a person must confirm or cancel it");
    Change::of(id).held_by(held_by).because(reason)
}

/// A half that is given back, to be asked about again.
pub(super) fn back(
    id: MessageId,
    held_by: Token,
    after: Duration,
    attempts: Attempts,
    reason: impl Into<Option<String>>,
) -> Postponement {
    Postponement { id, held_by, after, attempts, reason: reason.into().map(Into::into) }
}
