//! The checker: settles halves that nobody reported, by asking their fence or their handler.

mod asker;
mod fence;
mod fence_queue;
mod handler;

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

pub(crate) use asker::Asker;
use asker::back;
use fence::UnresolvedHalf;
use fence_queue::FenceQueues;
use handler::{HandlerAnswer, Question, settle};

use super::Worker;
use crate::call::live::LiveCall;
use crate::fault;
use crate::message::{AnsweredBy, FenceId};
use crate::rules::answer::{ToTriage, Triage, triage};
use crate::store::{Attempts, ClaimLimits, ClaimedRow, Hold, Holder, StoreError};

/// Questions under way at once.
const WINDOW: u32 = 64;
/// How long the machine is left to others, in times of what claiming and asking took: what a process left
/// behind has waited already, and live calls have not.
const REST: u32 = 8;
/// Payload bytes claimed at once.
const BYTES: usize = 16 * 1024 * 1024;

/// Asks, and applies the answers.
#[derive(Debug)]
pub(crate) struct Checker {
    asker: Arc<Asker>,
    /// Calls of this process whose fence is to be asked now.
    questions: UnboundedReceiver<Arc<LiveCall>>,
    /// Handlers that are being asked.
    asking: JoinSet<Option<HandlerAnswer>>,
    /// Halves whose last asker has vanished, the least blamed at the end; and the one that is being asked about.
    suspects: Vec<Question>,
    suspected: JoinSet<Option<HandlerAnswer>>,
    /// What they answered, and no statement carries yet.
    answers: Vec<HandlerAnswer>,
    /// The statements that carry answers to the store, one batch at a time. What one that panics had is asked
    /// again.
    settling: JoinSet<Vec<HandlerAnswer>>,
    /// Answers that the store failed over wait here until they are brought to it again.
    later: JoinSet<Vec<HandlerAnswer>>,
    failures: u32,
    /// Fences that are being asked.
    fence_queues: FenceQueues,
    /// Handlers, and packages of messages that they answered for although they are from another one.
    strangers: HashSet<(String, String)>,
    /// When halves were claimed last, and whether there may be more for the same handlers.
    claimed: Instant,
    more: bool,
}

impl Checker {
    pub(crate) fn new(mut asker: Asker, questions: UnboundedReceiver<Arc<LiveCall>>) -> Self {
        asker.held = asker.held.of(Self::NAME);
        Self {
            asker: Arc::new(asker),
            questions,
            asking: JoinSet::new(),
            suspects: Vec::new(),
            suspected: JoinSet::new(),
            answers: Vec::new(),
            settling: JoinSet::new(),
            later: JoinSet::new(),
            failures: 0,
            fence_queues: FenceQueues::default(),
            strangers: HashSet::new(),
            claimed: Instant::now(),
            more: false,
        }
    }

    #[cfg(feature = "testing")]
    /// Settles everything that is due now, and waits for it.
    pub(crate) async fn run_once(&mut self) -> Result<(), StoreError> {
        self.wind_up().await;
        self.claim().await?;
        self.finish().await;
        Ok(())
    }

    /// Asks about this process's own calls, and finishes what is being asked.
    async fn wind_up(&mut self) {
        let mut calls = Vec::new();
        while let Ok(call) = self.questions.try_recv() {
            calls.push(call);
        }
        self.ask_own(calls);
        self.finish().await;
    }

    async fn finish(&mut self) {
        loop {
            // What is known does not wait for who hangs.
            self.settle_more();
            self.ask_a_suspect();
            tokio::select! {
                Some(done) = self.asking.join_next() => self.answers.extend(done.ok().flatten()),
                Some(done) = self.suspected.join_next() => self.answers.extend(done.ok().flatten()),
                Some(done) = self.settling.join_next() => self.was_settled(done),
                Some(done) = self.later.join_next() => self.answers.extend(done.unwrap_or_default()),
                Some(_) = self.fence_queues.answered() => {}
                else => return,
            }
        }
    }

    /// Brings answers to the store, together with whatever else was answered since the last time.
    fn settle_more(&mut self) {
        if self.settling.is_empty() && !self.answers.is_empty() {
            let (asker, answers) = (Arc::clone(&self.asker), std::mem::take(&mut self.answers));
            self.settling.spawn(async move { settle(&asker, answers).await });
        }
    }

    /// Asks about the least blamed suspect, one at a time.
    fn ask_a_suspect(&mut self) {
        if self.suspected.is_empty()
            && let Some(question) = self.suspects.pop()
        {
            self.suspected.spawn(question.ask_alone(Arc::clone(&self.asker)));
        }
    }

    /// What the store failed over is brought to it again after a pause, as long as the claim lasts.
    fn was_settled(&mut self, done: Result<Vec<HandlerAnswer>, JoinError>) {
        let mut failed = done.unwrap_or_default();
        failed.retain(|answer| Instant::now() < answer.until);
        if failed.is_empty() {
            self.failures = 0;
            return;
        }
        let pause = self.asker.held.pause(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.later.spawn(async move {
            sleep(pause).await;
            failed
        });
    }

    /// Asks the fences of calls that this process holds.
    fn ask_own(&mut self, calls: Vec<Arc<LiveCall>>) {
        for call in calls {
            // From here on they are anybody's, should we not come to an end: a fence answers everybody
            // the same. And what an answer frees must not look as if it were still being worked on.
            self.asker.held.let_go(call.ids());
            if let Some(identity) = call.fence() {
                self.fence_queues.ask_own(&self.asker, identity, call);
            }
        }
    }

    /// Takes halves that are due, and asks about them: fences that are not being asked, and handlers as
    /// there is room, so that nobody who hangs keeps others from being asked.
    async fn claim(&mut self) -> Result<(), StoreError> {
        self.claimed = Instant::now();
        self.more = false;
        let unsettled = self.asking.len() + self.answers.len() + self.later.len();
        let mut room = WINDOW.saturating_sub(u32::try_from(unsettled).unwrap_or(WINDOW));
        if self.suspects.len() >= WINDOW as usize {
            room = 0;
        }
        let is_free =
            |who: &AnsweredBy| matches!(who, AnsweredBy::Fence(id) if self.fence_queues.is_free(*id));
        let fences: Vec<_> = self.asker.fences.answerers().into_iter().filter(is_free).collect();
        let handlers = self.asker.handlers.answerers(&self.asker.services);
        // For a fence a lease is long enough, and short if this process dies over the question: should
        // its answer take longer, another asker gets the same.
        let settings = self.asker.settings;
        let (fence, handler) = (settings.lease, settings.handler_timeout + settings.lease);
        self.claim_from(&fences, WINDOW, fence).await?;
        let count = self.claim_from(&handlers, room, handler).await?;
        self.more = room > 0 && is_many(count, room);
        Ok(())
    }

    /// When to claim more: the machine is left to others for as long as the last claim and its questions have
    /// taken.
    fn rested(&self) -> Instant {
        Instant::now() + self.claimed.elapsed() * REST
    }

    async fn claim_from(
        &mut self,
        askable: &[AnsweredBy],
        rows: u32,
        lease: Duration,
    ) -> Result<usize, StoreError> {
        if rows == 0 || askable.is_empty() {
            return Ok(0);
        }
        let asker = &self.asker;
        // A token of its own: a body that takes its row back makes this claim's Cancel void.
        let hold = Hold { token: Holder::checkers_token(), lease };
        let limits = ClaimLimits { rows, bytes: BYTES, lapsed_before: asker.held.leases().lapsed_before() };
        let until = Instant::now() + lease;
        let claim = asker.held.store().claim_halves(askable, limits, hold).await?;
        let count = claim.rows.len();
        for row in claim.undecodable {
            tracing::error!(id = %row.id, why = row.why, "a half message can't be read and is parked");
            asker.park(row.id, hold.token, row.why).await;
        }
        let orphans = claim.rows.iter().filter(|row| row.taken_over.is_some()).count();
        if orphans > 0 {
            tracing::info!(orphans, "asking about half messages whose process vanished");
        }
        self.sort_out(claim.rows, hold, until).await;
        Ok(count)
    }

    /// A handler is about to answer for what another package stored under its name: two services that should have
    /// names, or one that was split or renamed. Nobody but an operator knows, so it is only said, and once.
    fn warn_of_stranger(&mut self, name: &str, row: &ClaimedRow) {
        let Some((ours, theirs)) = self.asker.handlers.stranger_to(name, &row.half) else { return };
        if self.strangers.insert((name.to_owned(), theirs.to_owned())) {
            tracing::warn!(
                handler = name,
                id = %row.half.id,
                service = row.half.service,
                "the check-back handler `{name}` of the package `{ours}` answers for a half message of the package \
                 `{theirs}`: if they are two services over one store, give each a name with `MessengerBuilder::service`"
            );
        }
    }

    async fn sort_out(&mut self, rows: Vec<ClaimedRow>, hold: Hold, until: Instant) {
        let held_by = hold.token;
        let asker = Arc::clone(&self.asker);
        let (budget, horizon) = (asker.settings.check_back_attempts, asker.settings.check_back_horizon);
        let count = rows.len();
        let mut by_fence: HashMap<FenceId, Vec<UnresolvedHalf>> = HashMap::new();
        let mut later = Vec::new();
        for row in rows {
            let id = row.half.id;
            let claimed = ToTriage {
                ours: asker.held.leases().holds(&id),
                taken_over: row.taken_over,
                attempts: row.attempts,
                age: row.age,
                check_after: row.half.check_after,
            };
            match triage(&row.half.answered_by, claimed, budget, horizon) {
                Triage::TakeBack => {
                    if let Err(error) = asker.held.store().renew(&[id], asker.held.hold()).await {
                        self.asker.held.log(&error);
                    }
                }
                Triage::AskFence(identity) => {
                    let unresolved = UnresolvedHalf { half: row.half, held_by, attempts: row.attempts };
                    by_fence.entry(identity).or_default().push(unresolved);
                }
                Triage::AskAlone(name) if !fault::bug("counted-at-the-claim") => {
                    let name = name.to_owned();
                    self.warn_of_stranger(&name, &row);
                    self.suspects.push(Question { name, row, hold, until });
                }
                Triage::AskHandler(name) | Triage::AskAlone(name) => {
                    if fault::bug("counted-at-the-claim") {
                        let _ = asker.held.store().enter(id, hold).await;
                    }
                    let name = name.to_owned();
                    self.warn_of_stranger(&name, &row);
                    let question = Question { name, row, hold, until };
                    self.asking.spawn(question.ask(Arc::clone(&asker)));
                }
                Triage::WaitFirst => {
                    let reason = "its process vanished".to_owned();
                    later.push(back(id, held_by, row.half.check_after, Attempts::Keep, reason));
                }
                Triage::TooOld => {
                    asker.park(id, held_by, "older than the setting `check_back_horizon`".into()).await;
                }
                Triage::UsedUp => {
                    asker.park(id, held_by, format!("asked {budget} times without an answer")).await;
                }
                Triage::Leave => {}
            }
        }
        self.suspects.sort_by_key(|suspect| Reverse(suspect.row.attempts));
        asker.held.give_back(later).await;
        for (identity, halves) in by_fence {
            self.fence_queues.ask(&asker, identity, halves, is_many(count, WINDOW));
        }
    }
}

/// So many that there may be more: the checker looks for them without waiting for the next poll.
const fn is_many(count: usize, room: u32) -> bool {
    count >= room.div_ceil(2) as usize
}

#[async_trait]
impl Worker for Checker {
    const NAME: &'static str = "checker";

    async fn run(&mut self, stop: &CancellationToken) {
        let mut next = Instant::now();
        let mut calls = Vec::new();
        loop {
            self.settle_more();
            self.ask_a_suspect();
            let has_reporter = !(self.questions.is_closed() && self.questions.is_empty());
            tokio::select! {
                Some(done) = self.suspected.join_next() => self.answers.extend(done.ok().flatten()),
                Some(done) = self.asking.join_next() => {
                    self.answers.extend(done.ok().flatten());
                    // Whatever else is answered goes in the same statement.
                    while let Some(done) = self.asking.try_join_next() {
                        self.answers.extend(done.ok().flatten());
                    }
                }
                Some(done) = self.settling.join_next() => {
                    self.was_settled(done);
                    if self.more {
                        next = next.min(self.rested());
                    }
                }
                Some(done) = self.later.join_next() => self.answers.extend(done.unwrap_or_default()),
                Some(more) = self.fence_queues.answered() => if more {
                    next = next.min(self.rested());
                },
                _ = self.questions.recv_many(&mut calls, WINDOW as usize), if has_reporter => {
                    self.ask_own(std::mem::take(&mut calls));
                }
                () = sleep_until(next) => {
                    if let Err(error) = self.claim().await {
                        self.asker.held.log(&error);
                    }
                    next = Instant::now() + self.asker.settings.poll_interval;
                    // Nobody was asked whose answer would bring us back, as when all have to wait first.
                    if self.more && self.asking.is_empty() {
                        next = next.min(self.rested());
                    }
                }
                () = stop.cancelled() => {
                    // They lapse, and are suspects of whoever takes them.
                    self.suspects.clear();
                    return self.wind_up().await;
                }
            }
        }
    }
}
