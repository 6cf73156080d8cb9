//! The consumers of a messenger: those it is built with, those that come later, and how much each handles at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::check_back::registry::Registry;
use crate::consumer::{Consumer, ConsumerLoop, NO_CONCURRENCY};
use crate::error::{Error, ErrorKind};
use crate::transport::Transport;
use crate::worker::alone::Alone;
use crate::worker::janitor::Inboxes;
use crate::worker::pause_watcher::Tell;
use crate::worker::pauses::Pauses;
use crate::worker::presence::Queues;

/// What can be changed of a consumer at any time.
#[derive(Debug)]
struct Changeable {
    /// How many batches are handled at once.
    concurrency: watch::Sender<usize>,
    /// Until when nothing more is taken.
    paused: watch::Sender<Option<Instant>>,
}

/// Who consumes, and what it takes to add one.
#[derive(Debug)]
pub(crate) struct Consumers {
    transport: Arc<dyn Transport>,
    handlers: Arc<Registry>,
    alone: Alone,
    inboxes: Inboxes,
    pauses: Pauses,
    /// What can be changed of each, by queue.
    running: Mutex<BTreeMap<String, Changeable>>,
}

impl Consumers {
    pub(super) fn new(
        transport: &Arc<dyn Transport>,
        handlers: &Arc<Registry>,
        alone: &Alone,
        inboxes: &Inboxes,
        pauses: &Pauses,
    ) -> Self {
        Self {
            transport: Arc::clone(transport),
            handlers: Arc::clone(handlers),
            alone: alone.clone(),
            inboxes: inboxes.clone(),
            pauses: pauses.clone(),
            running: Mutex::default(),
        }
    }

    /// Opens the consumer's queue, which no other one may have. What it returns must be run.
    pub(super) fn add(&self, consumer: Consumer) -> Result<ConsumerLoop, Error> {
        consumer.validate(&self.handlers.data)?;
        let queue = consumer.queue().to_owned();
        let mut running = self.running();
        if running.contains_key(&queue) {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!("there are two consumers of the queue `{queue}`: raise its `concurrency` instead"),
            ));
        }
        let (concurrency, at_once) = watch::channel(consumer.most_at_once());
        let (paused, is_paused) = watch::channel(self.pauses.of_queue(&queue));
        let deliveries = self.transport.subscribe(consumer.wanted(at_once.clone(), is_paused))?;
        running.insert(queue, Changeable { concurrency, paused });
        let budget = self.transport.budget(consumer.most_attempts());
        let (alone, data) = (self.alone.clone(), self.handlers.data.clone());
        let added = ConsumerLoop::new(consumer, budget, alone, data, at_once, deliveries);
        self.inboxes.add(added.prune());
        Ok(added)
    }

    /// The queues that they consume.
    fn queues(&self) -> Vec<String> {
        self.running().keys().cloned().collect()
    }

    /// What announces their queues, and what tells them of pauses.
    pub(super) fn known_to_workers(self: &Arc<Self>) -> (Queues, Tell) {
        let (announced, told) = (Arc::clone(self), Arc::clone(self));
        (Arc::new(move || announced.queues()), Arc::new(move || told.obey_pauses()))
    }

    /// Tells each whether it is paused.
    fn obey_pauses(&self) {
        for (queue, Changeable { paused, .. }) in self.running().iter() {
            let until = self.pauses.of_queue(queue);
            paused.send_if_modified(|now| std::mem::replace(now, until) != until);
        }
    }

    pub(super) fn set_concurrency(&self, queue: &str, at_once: usize) -> Result<(), Error> {
        let running = self.running();
        let problem = match running.get(queue) {
            Some(_) if at_once == 0 => NO_CONCURRENCY.to_owned(),
            Some(Changeable { concurrency, .. }) => {
                // Said again, it changes nothing, and disturbs nobody.
                concurrency.send_if_modified(|now| std::mem::replace(now, at_once) != at_once);
                return Ok(());
            }
            None if running.is_empty() => "this messenger has no consumers".to_owned(),
            None => {
                let queues: Vec<_> = running.keys().map(|queue| format!("`{queue}`")).collect();
                format!("this messenger has no such consumer, but {}", queues.join(", "))
            }
        };
        let text = format!("the concurrency of the consumer `{queue}` can't be set to {at_once}: {problem}");
        Err(Error::new(ErrorKind::Configuration, text))
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Changeable>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
