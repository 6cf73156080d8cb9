//! The loop that handles a queue's deliveries: many at once, and suspects alone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Consumer;
use super::inbox::{Given, Inbox};
use super::suspects::judge;
use super::work::{UnderWay, Work};
use crate::check_back::DataMap;
use crate::fault;
use crate::store::StoreError;
use crate::telemetry::catalogue::CONSUMED;
use crate::transport::Delivery;
use crate::worker::Worker;
use crate::worker::alone::Alone;
use crate::worker::janitor::Prune;

/// Handles a queue's deliveries.
#[derive(Debug)]
pub(crate) struct ConsumerLoop {
    pub(super) consumer: Consumer,
    /// How many batches are handled at once.
    concurrency: watch::Receiver<usize>,
    work: Work,
    deliveries: Receiver<Delivery>,
    /// Taken out of the channel, and not begun.
    ready: VecDeque<Delivery>,
    handling: JoinSet<()>,
    /// They wait for their turn; one of them is judged at a time, and the others come back.
    suspects: Vec<Delivery>,
    judging: JoinSet<Vec<Delivery>>,
}

impl ConsumerLoop {
    pub(crate) fn new(
        consumer: Consumer,
        budget: u32,
        alone: Alone,
        data: DataMap,
        concurrency: watch::Receiver<usize>,
        deliveries: Receiver<Delivery>,
    ) -> Self {
        let inbox = Arc::clone(&consumer.inbox);
        let given = Given { limits: consumer.limits, continuation: consumer.continuation, data };
        Self {
            consumer,
            concurrency,
            work: Work { inbox, budget, alone, given, under_way: UnderWay::default() },
            deliveries,
            ready: VecDeque::new(),
            handling: JoinSet::new(),
            suspects: Vec::new(),
            judging: JoinSet::new(),
        }
    }

    pub(crate) const fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// What prunes the inbox.
    pub(crate) fn prune(&self) -> Arc<dyn Prune> {
        Arc::new(Pruned { inbox: Arc::clone(&self.work.inbox), retention: self.consumer.limits.retention })
    }

    fn has_room(&self) -> bool {
        self.handling.len() < *self.concurrency.borrow()
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
        let most = self.consumer.batch;
        while self.has_room() && !self.ready.is_empty() {
            // Nothing waits for company: what is there goes together.
            while self.ready.len() < most
                && let Ok(delivery) = self.deliveries.try_recv()
            {
                self.sort_in(delivery);
            }
            let work = self.work.clone();
            let mut deliveries: Vec<_> = self.ready.drain(..self.ready.len().min(most)).collect();
            if most > 1 {
                self.handling.spawn(work.handle_all(deliveries));
            } else if let Some(delivery) = deliveries.pop() {
                self.handling.spawn(work.handle(delivery));
            }
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
        // There from now on, at 0.
        CONSUMED.of(self.consumer.queue());
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
                Ok(()) = self.concurrency.changed() => {}
                () = stop.cancelled() => break,
            }
        }
        while self.handling.join_next().await.is_some() {}
        while self.judging.join_next().await.is_some() {}
    }
}
