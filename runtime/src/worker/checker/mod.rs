//! The checker: settles halves that nobody reported, by asking their fence or their handler.

mod asker;
mod awaited;
mod claim;
mod fence;
mod fence_queue;
mod handler;
mod park;

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

pub(crate) use asker::Asker;
use awaited::AwaitedCommits;
use fence_queue::FenceQueues;
use handler::{HandlerAnswer, Question, settle};

use super::Worker;
use crate::call::live::LiveCall;
#[cfg(feature = "testing")]
use crate::store::StoreError;
use crate::telemetry::catalogue::{CHECK_BACKS, PARKED};

/// Questions under way at once.
const WINDOW: u32 = 64;
/// How long the machine is left to others, in times of what claiming and asking took: what a process left
/// behind has waited already, and live calls have not.
const REST: u32 = 2;

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
    /// Calls whose caller has still to commit.
    awaited: AwaitedCommits,
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
            awaited: AwaitedCommits::default(),
            strangers: HashSet::new(),
            claimed: Instant::now(),
            more: false,
        }
    }

    #[cfg(feature = "testing")]
    /// Settles everything that is due now, and waits for it.
    pub(crate) async fn run_once(&mut self) -> Result<(), StoreError> {
        self.wind_up().await;
        let over = self.awaited.take();
        self.ask_fences(over);
        self.finish().await;
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
        self.awaited.read_all(&self.asker);
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
                Some(()) = self.awaited.goes_on(&self.asker) => {}
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

    /// Asks about calls that this process has run.
    fn ask_own(&mut self, calls: Vec<Arc<LiveCall>>) {
        let (left, over) = calls.into_iter().partition(|call| call.scope.is_left_to_the_caller());
        Vec::into_iter(left).for_each(|call| self.awaited.add(call));
        self.ask_fences(over);
    }

    /// Asks the fences of calls that this process holds.
    fn ask_fences(&mut self, calls: Vec<Arc<LiveCall>>) {
        for call in calls {
            // From here on they are anybody's, should we not come to an end: a fence answers everybody
            // the same. And what an answer frees must not look as if it were still being worked on.
            self.asker.held.let_go(call.ids());
            if let Some(identity) = call.fence() {
                self.fence_queues.ask_own(&self.asker, identity, call);
            }
        }
    }

    /// When to claim more: the machine is left to others for as long as the last claim and its questions have
    /// taken.
    fn rested(&self) -> Instant {
        Instant::now() + self.claimed.elapsed() * REST
    }
}

#[async_trait]
impl Worker for Checker {
    const NAME: &'static str = "checker";

    async fn run(&mut self, stop: &CancellationToken) {
        for name in self.asker.fences.iter().map(|(name, _)| name).chain(self.asker.handlers.names()) {
            // There from now on, at 0.
            CHECK_BACKS.of(name);
            PARKED.of(name);
        }
        let mut next = Instant::now();
        let mut calls = Vec::new();
        loop {
            self.settle_more();
            self.ask_a_suspect();
            let due = self.awaited.due();
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
                Some(()) = self.awaited.goes_on(&self.asker) => {}
                () = sleep_until(due.unwrap_or(next)), if due.is_some() => {
                    let over = self.awaited.read_due(&self.asker);
                    self.ask_fences(over);
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
                    self.wind_up().await;
                    // Whoever takes these over asks their fence.
                    for call in self.awaited.take() {
                        self.asker.held.let_go(call.ids());
                    }
                    return;
                }
            }
        }
    }
}
