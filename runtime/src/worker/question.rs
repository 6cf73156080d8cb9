//! One question of the checker: to a fence or to a handler, and what follows from the answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::answer::{Step, after_handler};
use super::places::Places;
use super::{log_store_error, panic_text};
use crate::check_back::{Asked, Outcome};
use crate::core::Core;
use crate::fault;
use crate::fence::FenceDatabase;
use crate::fence::verdict::Verdict;
use crate::message::state::{Applied, Event};
use crate::message::{Half, MessageId};
use crate::store::{Attempts, Change, Hold, Postponement, StoreError, Stored, Token};

const WORKER: &str = "checker";

/// A half to be settled by its fence.
pub(super) struct Suspect {
    pub(super) half: Arc<Half>,
    pub(super) held_by: Token,
    pub(super) attempts: u32,
    /// Of a call that this process has just run: should the store have lost it, it is stored anew.
    pub(super) live: bool,
}

impl Suspect {
    /// A half of a call that this process has just run.
    pub(super) fn of_live(half: &Arc<Half>, held_by: Token) -> Self {
        Self { half: Arc::clone(half), held_by, attempts: 1, live: true }
    }
}

/// Asks a fence about several halves, and applies its verdicts.
pub(super) async fn ask_fence(core: &Core, identity: Uuid, suspects: &[Suspect]) {
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
    let mut settled: HashMap<(Event, bool), Vec<(&Suspect, Change)>> = HashMap::new();
    let mut unsettled = Vec::new();
    for (suspect, verdict) in suspects.iter().zip(verdicts) {
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
                settled.entry((event, is_ours)).or_default().push((suspect, change));
            }
            None => unsettled.push((suspect, why)),
        }
    }
    for ((event, _), settled) in settled {
        apply_verdicts(core, event, settled).await;
    }
    ask_again(core, unsettled).await;
}

async fn apply_verdicts(core: &Core, event: Event, settled: Vec<(&Suspect, Change)>) {
    let (suspects, decided): (Vec<_>, Vec<_>) =
        settled.into_iter().map(|(suspect, change)| (suspect, (Arc::clone(&suspect.half), change))).unzip();
    let applied = decide(core, event, &decided).await;
    for ((suspect, (half, change)), applied) in suspects.into_iter().zip(&decided).zip(applied) {
        if suspect.live && (applied, event) == (Some(Applied::Missing), Event::CheckBackConfirms) {
            insert_anew(core, &half.amended(change.payload.as_ref())).await;
        }
    }
}

/// Applies answers. What they confirm goes to the relay, as far as there is room: it was read already. While
/// the transport takes nothing, it is anybody's: another process's may. So is always what belongs to another
/// service, whose own relay delivers it.
async fn decide(core: &Core, event: Event, answers: &[(Arc<Half>, Change)]) -> Vec<Option<Applied>> {
    let is_ours = answers.iter().all(|(half, _)| core.services.has(&half.service));
    let goes_on = event == Event::CheckBackConfirms && is_ours && core.transport.capacity() > 0;
    let mut places = Places::reserve(core, if goes_on { answers.len() } else { 0 });
    let changes: Vec<_> = answers.iter().map(|(_, change)| change.clone()).collect();
    let (ours, anybodys) = changes.split_at(places.len());
    let mut applied = apply(core, event, ours, Some(core.leases.hold())).await;
    for ((half, change), applied) in answers.iter().zip(&applied) {
        if *applied == Some(Applied::Moved) {
            places.hand_on(half.amended(change.payload.as_ref()));
        }
    }
    drop(places);
    applied.extend(apply(core, event, anybodys, None).await);
    applied
}

/// A fence gave no answer. Messages that this process has in memory are stored again first: from here on
/// only the store knows of them, and it may have lost them, as one that was restored. Rows that are there
/// are left as they are.
async fn ask_again(core: &Core, unsettled: Vec<(&Suspect, String)>) {
    let live = unsettled.iter().filter(|(suspect, _)| suspect.live);
    let halves: Vec<&Half> = live.map(|(suspect, _)| &*suspect.half).collect();
    if !halves.is_empty()
        && let Err(error) = core.store.insert_halves(&halves, core.leases.hold()).await
    {
        log_store_error(WORKER, &error);
    }
    let back = unsettled.into_iter().map(|(suspect, why)| {
        let after = core.settings.check_back_backoff.delay(suspect.attempts.saturating_sub(1));
        tracing::info!(id = %suspect.half.id, why, retry_in = ?after, "a fence gave no answer yet");
        back(suspect.half.id, suspect.held_by, after, Attempts::Keep, why)
    });
    give_back(core, &back.collect::<Vec<_>>()).await;
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

/// The business action took effect, and its message is gone, as from a store that was restored.
async fn insert_anew(core: &Core, half: &Half) {
    tracing::warn!(id = %half.id, function = half.function, "a half message is gone from the store; it is stored anew, confirmed");
    let id = half.id;
    let hold = core.leases.hold();
    match core.store.insert_confirmed(&[half], hold).await {
        Ok(()) => give_back(core, &[back(id, hold.token, Duration::ZERO, Attempts::Keep, None)]).await,
        Err(error) => log_store_error(WORKER, &error),
    }
}

/// What follows from a handler's answer.
#[derive(Debug)]
pub(super) enum Answer {
    Decided(Event, Arc<Half>, Change),
    AskAgain(Postponement),
}

/// Asks a handler, in a task of its own. `None`: this process does not have it.
pub(super) async fn ask_handler(
    core: Arc<Core>,
    name: String,
    row: Stored,
    held_by: Token,
) -> Option<Answer> {
    let half = Arc::clone(&row.half);
    let (id, attempts) = (half.id, row.attempts);
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
    Some(match after_handler(outcome, attempts, core.settings.check_back_attempts) {
        Step::Decide(event) => Answer::Decided(event, half, Change::of(id).because(why)),
        Step::DecideIfHeld(Event::Park) => {
            let why = format!("asked {attempts} times without an answer; the last time {why}");
            Answer::Decided(Event::Park, half, parking(id, held_by, why))
        }
        Step::DecideIfHeld(event) => {
            Answer::Decided(event, half, Change::of(id).held_by(held_by).because(why))
        }
        Step::AskAgain => {
            let after = core.settings.check_back_backoff.delay(attempts.saturating_sub(1));
            tracing::warn!(%id, attempts, why, retry_in = ?after, "a check-back got no answer");
            Answer::AskAgain(back(id, held_by, after, Attempts::Keep, why))
        }
    })
}

/// Brings answers of handlers to the store, those of a kind in one statement.
pub(super) async fn settle(core: &Core, answers: Vec<Answer>) {
    let mut decided: HashMap<Event, Vec<(Arc<Half>, Change)>> = HashMap::new();
    let mut again = Vec::new();
    for answer in answers {
        match answer {
            Answer::Decided(event, half, change) => decided.entry(event).or_default().push((half, change)),
            Answer::AskAgain(back) => again.push(back),
        }
    }
    for (event, answers) in decided {
        decide(core, event, &answers).await;
    }
    give_back(core, &again).await;
}

fn describe(failed: tokio::task::JoinError) -> String {
    match failed.try_into_panic() {
        Ok(panic) => format!("panicked: {}", panic_text(panic.as_ref())),
        Err(failed) => failed.to_string(),
    }
}

/// Applies answers, and says what became of each row. What can't be stored lapses, and the same question is
/// asked again. When the store refuses several, each is tried by itself, so that a poison row fails alone.
async fn apply(core: &Core, event: Event, changes: &[Change], hold: Option<Hold>) -> Vec<Option<Applied>> {
    if changes.is_empty() {
        return Vec::new();
    }
    match core.store.transition(event, changes, hold).await {
        Ok(applied) => {
            for (change, applied) in changes.iter().zip(&applied) {
                tracing::debug!(id = %change.id, ?event, ?applied, "a check-back settled a message");
            }
            applied.into_iter().map(Some).collect()
        }
        Err(StoreError::Refused(_)) if changes.len() > 1 => {
            let mut applied = Vec::with_capacity(changes.len());
            for change in changes.chunks(1) {
                applied.extend(Box::pin(apply(core, event, change, hold)).await);
            }
            applied
        }
        Err(error) => {
            log_store_error(WORKER, &error);
            vec![None; changes.len()]
        }
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
    apply(core, Event::Park, &[parking(id, held_by, reason)], None).await;
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

pub(super) async fn give_back(core: &Core, back: &[Postponement]) {
    if back.is_empty() {
        return;
    }
    if let Err(error) = core.store.postpone(back).await {
        log_store_error(WORKER, &error);
    }
}
