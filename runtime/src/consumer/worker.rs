//! The loop that handles a queue's deliveries: many at once, and suspects alone.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Consumer;
use super::inbox::{Inbox, Limits};
use super::suspects::judge;
use crate::fault;
use crate::message::{Message, MessageId};
use crate::store::StoreError;
use crate::transport::{Delivery, Handled};
use crate::worker::alone::Alone;
use crate::worker::janitor::Prune;
use crate::worker::{Worker, panic_text};

/// Handles a queue's deliveries.
#[derive(Debug)]
pub(crate) struct ConsumerLoop {
    pub(super) consumer: Consumer,
    work: Work,
    deliveries: Receiver<Delivery>,
    /// Taken out of the channel, and not begun.
    ready: VecDeque<Delivery>,
    handling: JoinSet<()>,
    /// They wait for their turn; one of them is judged at a time, and the others come back.
    suspects: Vec<Delivery>,
    judging: JoinSet<Vec<Delivery>>,
}

/// What it takes to handle a delivery.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) inbox: Arc<dyn Inbox>,
    /// After how many attempts a failure is final.
    pub(super) budget: u32,
    pub(super) alone: Alone,
    limits: Limits,
    under_way: UnderWay,
}

/// The messages that are being handled here. One that is delivered again meanwhile takes no second place, and no
/// second connection, only to wait for the first.
#[derive(Clone, Debug, Default)]
struct UnderWay(Arc<Mutex<HashSet<MessageId>>>);

/// A message is being handled until this is dropped.
pub(super) struct Claimed(UnderWay, MessageId);

impl UnderWay {
    fn ids(&self) -> MutexGuard<'_, HashSet<MessageId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claim(&self, id: MessageId) -> Option<Claimed> {
        self.ids().insert(id).then(|| Claimed(self.clone(), id))
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.0.ids().remove(&self.1);
    }
}

impl Work {
    /// Handles a delivery beside others.
    async fn handle(self, delivery: Delivery) {
        let _beside = self.alone.beside_others().await;
        let Some((delivery, claimed)) = self.claim(delivery) else { return };
        fault::point("received");
        let Delivery { id, message, attempt, settle, .. } = delivery;
        let mut settle = Some(settle);
        if fault::bug("ack-before-commit") {
            settle.take().map(|settle| settle.send(Handled::Done));
        }
        let handled = self.within_budget(attempt, self.run(id, message, attempt, false).await);
        drop(claimed);
        // Nobody listens any more when that one gave up: the message comes again.
        settle.map(|settle| settle.send(handled));
    }

    /// Whether a delivery is to be handled now. Otherwise it is settled, if anybody waits for it.
    pub(super) fn claim(&self, delivery: Delivery) -> Option<(Delivery, Claimed)> {
        let delivery = self.unless_under_way(delivery)?;
        let claimed = self.under_way.claim(delivery.id)?;
        Some((delivery, claimed))
    }

    /// The same, and leaves the choice open.
    pub(super) fn unless_under_way(&self, delivery: Delivery) -> Option<Delivery> {
        if delivery.settle.is_closed() {
            return None;
        }
        if !self.under_way.ids().contains(&delivery.id) {
            return Some(delivery);
        }
        tracing::debug!(id = %delivery.id, "a message was delivered again, and is still being handled");
        let _ = delivery.settle.send(Handled::NotNow("it is still being handled in this process".into()));
        None
    }

    /// Calls the handler, in a task of its own, so that a panic fails this message and nothing else.
    pub(super) async fn run(&self, id: MessageId, message: Message, attempt: u32, entered: bool) -> Handled {
        let (inbox, limits) = (Arc::clone(&self.inbox), self.limits);
        let task = tokio::spawn(async move { inbox.process(id, message, attempt, entered, limits).await });
        match AbortOnDropHandle::new(task).await {
            Ok(handled) => handled,
            Err(failed) => Handled::Failed(match failed.try_into_panic() {
                Ok(panic) => format!("the handler panicked: {}", panic_text(panic.as_ref())),
                Err(failed) => failed.to_string(),
            }),
        }
    }

    /// A failure that was the last attempt is final.
    pub(super) fn within_budget(&self, attempt: u32, handled: Handled) -> Handled {
        match handled {
            Handled::Failed(why) if attempt >= self.budget => {
                Handled::Rejected(format!("failed {attempt} times; the last time: {why}"))
            }
            handled => handled,
        }
    }
}

impl ConsumerLoop {
    pub(crate) fn new(consumer: Consumer, budget: u32, alone: Alone, deliveries: Receiver<Delivery>) -> Self {
        let (inbox, limits) = (Arc::clone(&consumer.inbox), consumer.limits);
        Self {
            consumer,
            work: Work { inbox, budget, alone, limits, under_way: UnderWay::default() },
            deliveries,
            ready: VecDeque::new(),
            handling: JoinSet::new(),
            suspects: Vec::new(),
            judging: JoinSet::new(),
        }
    }

    /// Creates or updates the tables of the inbox.
    pub(crate) async fn migrate(&self) -> Result<(), StoreError> {
        self.work.inbox.migrate(self.consumer.schema.as_deref()).await
    }

    /// Checks that they have the version that this crate knows.
    pub(crate) async fn check_schema(&self) -> Result<(), StoreError> {
        self.work.inbox.check_schema(self.consumer.schema.as_deref()).await
    }

    /// What prunes the inbox.
    pub(crate) fn prune(&self) -> Arc<dyn Prune> {
        Arc::new(Pruned { inbox: Arc::clone(&self.work.inbox), retention: self.consumer.limits.retention })
    }

    fn has_room(&self) -> bool {
        self.handling.len() < self.consumer.concurrency
    }

    fn sort_in(&mut self, delivery: Delivery) {
        if !delivery.suspect {
            self.ready.push_back(delivery);
            return;
        }
        if fault::bug("all-blamed") && !self.judging.is_empty() {
            let (inbox, id) = (Arc::clone(&self.work.inbox), delivery.id);
            self.handling.spawn(async move { drop(inbox.enter_alone(id).await) });
        }
        self.suspects.push(delivery);
    }

    /// Begins what can be begun.
    fn begin(&mut self) {
        while self.has_room()
            && let Some(delivery) = self.ready.pop_front()
        {
            self.handling.spawn(self.work.clone().handle(delivery));
        }
        if self.judging.is_empty() && !self.suspects.is_empty() {
            // Those that are in the channel belong to the choice.
            while let Ok(delivery) = self.deliveries.try_recv() {
                self.sort_in(delivery);
            }
            let suspects = std::mem::take(&mut self.suspects);
            self.judging.spawn(judge(self.work.clone(), suspects));
        }
    }
}

/// An inbox, with how long it keeps its records.
#[derive(Debug)]
struct Pruned {
    inbox: Arc<dyn Inbox>,
    retention: Duration,
}

#[async_trait]
impl Prune for Pruned {
    async fn prune(&self, limit: u32) -> Result<u64, StoreError> {
        self.inbox.prune(self.retention, limit).await
    }
}

#[async_trait]
impl Worker for ConsumerLoop {
    const NAME: &'static str = "consumer";

    async fn run(&mut self, stop: &CancellationToken) {
        loop {
            self.begin();
            let room = self.has_room() && self.ready.is_empty();
            tokio::select! {
                Some(_) = self.handling.join_next() => {}
                Some(rest) = self.judging.join_next() => self.suspects.extend(rest.unwrap_or_default()),
                delivery = self.deliveries.recv(), if room => {
                    let Some(delivery) = delivery else { break };
                    self.sort_in(delivery);
                }
                () = stop.cancelled() => break,
            }
        }
        while self.handling.join_next().await.is_some() {}
        while self.judging.join_next().await.is_some() {}
    }
}
