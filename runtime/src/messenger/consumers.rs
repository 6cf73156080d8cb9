//! The consumers of a messenger: those it is built with, those that come later, and how much each handles at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::check_back::registry::Registry;
use crate::consumer::{Consumer, ConsumerLoop, NO_CONCURRENCY};
use crate::error::{Error, ErrorKind};
use crate::transport::{Paused, Transport};
use crate::worker::alone::Alone;
use crate::worker::janitor::Inboxes;
use crate::worker::pause_watcher::Tell;
use crate::worker::pauses::Pauses;
use crate::worker::presence::{Announced, Announcing};

/// What is known of a consumer, and can be changed at any time.
#[derive(Debug)]
struct Known {
    /// How many batches are handled at once.
    concurrency: watch::Sender<usize>,
    /// Nothing more is taken.
    paused: watch::Sender<Option<Paused>>,
    announced: Announced,
}

/// Who consumes, and what it takes to add one.
#[derive(Debug)]
pub(crate) struct Consumers {
    transport: Arc<dyn Transport>,
    handlers: Arc<Registry>,
    alone: Alone,
    inboxes: Inboxes,
    pauses: Pauses,
    /// By queue.
    known: Mutex<BTreeMap<String, Known>>,
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
            known: Mutex::default(),
        }
    }

    /// Opens the consumer's queue, which no other one may have. What it returns must be run.
    pub(super) fn add(&self, consumer: Consumer) -> Result<ConsumerLoop, Error> {
        consumer.validate(&self.handlers.data)?;
        let queue = consumer.queue().to_owned();
        let mut known = self.known();
        if known.contains_key(&queue) {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!("there are two consumers of the queue `{queue}`: raise its `concurrency` instead"),
            ));
        }
        let (concurrency, at_once) = watch::channel(consumer.most_at_once());
        let (paused, is_paused) = watch::channel(self.pauses.of_queue(&queue));
        let deliveries = self.transport.subscribe(consumer.wanted(at_once.clone(), is_paused))?;
        let announced = Announced {
            queue: queue.clone(),
            remembers: consumer.remembers(),
            exchanges: consumer.exchanges().map(str::to_owned).collect(),
        };
        known.insert(queue, Known { concurrency, paused, announced });
        let budget = self.transport.budget(consumer.most_attempts());
        let (alone, data) = (self.alone.clone(), self.handlers.data.clone());
        let added = ConsumerLoop::new(consumer, budget, alone, data, at_once, deliveries);
        self.inboxes.add(added.prune());
        Ok(added)
    }

    /// What is announced of them, and what tells them of pauses.
    pub(super) fn known_to_workers(self: &Arc<Self>) -> (Announcing, Tell) {
        let (announced, told) = (Arc::clone(self), Arc::clone(self));
        (Arc::new(move || announced.announced()), Arc::new(move || told.obey_pauses()))
    }

    /// What operators are told of them.
    fn announced(&self) -> Vec<Announced> {
        self.known().values().map(|known| known.announced.clone()).collect()
    }

    /// Tells each whether it is paused.
    fn obey_pauses(&self) {
        for (queue, Known { paused, .. }) in self.known().iter() {
            let pause = self.pauses.of_queue(queue);
            paused.send_if_modified(|now| *now != pause && std::mem::replace(now, pause.clone()) != pause);
        }
    }

    pub(super) fn set_concurrency(&self, queue: &str, at_once: usize) -> Result<(), Error> {
        let known = self.known();
        let problem = match known.get(queue) {
            Some(_) if at_once == 0 => NO_CONCURRENCY.to_owned(),
            Some(Known { concurrency, .. }) => {
                // Said again, it changes nothing, and disturbs nobody.
                concurrency.send_if_modified(|now| std::mem::replace(now, at_once) != at_once);
                return Ok(());
            }
            None if known.is_empty() => "this messenger has no consumers".to_owned(),
            None => {
                let queues: Vec<_> = known.keys().map(|queue| format!("`{queue}`")).collect();
                format!("this messenger has no such consumer, but {}", queues.join(", "))
            }
        };
        let text = format!("the concurrency of the consumer `{queue}` can't be set to {at_once}: {problem}");
        Err(Error::new(ErrorKind::Configuration, text))
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
