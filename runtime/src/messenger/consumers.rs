//! The consumers of a messenger: those it is built with, those that come later, and how much each handles at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::check_back::registry::Registry;
use crate::consumer::{Consumer, ConsumerLoop, NO_CONCURRENCY};
use crate::error::{Error, ErrorKind};
use crate::transport::Transport;
use crate::worker::alone::Alone;
use crate::worker::janitor::Inboxes;
use crate::worker::presence::Announced;

/// Who consumes, and what it takes to add one.
#[derive(Debug)]
pub(crate) struct Consumers {
    transport: Arc<dyn Transport>,
    handlers: Arc<Registry>,
    alone: Alone,
    inboxes: Inboxes,
    /// By queue.
    known: Mutex<BTreeMap<String, Known>>,
}

#[derive(Debug)]
struct Known {
    /// How many batches are handled at once.
    concurrency: watch::Sender<usize>,
    announced: Announced,
}

impl Consumers {
    pub(super) fn new(
        transport: &Arc<dyn Transport>,
        handlers: &Arc<Registry>,
        alone: &Alone,
        inboxes: &Inboxes,
    ) -> Self {
        Self {
            transport: Arc::clone(transport),
            handlers: Arc::clone(handlers),
            alone: alone.clone(),
            inboxes: inboxes.clone(),
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
        let deliveries = self.transport.subscribe(consumer.wanted(at_once.clone()))?;
        let announced = Announced {
            queue: queue.clone(),
            remembers: consumer.remembers(),
            exchanges: consumer.exchanges().map(str::to_owned).collect(),
        };
        known.insert(queue, Known { concurrency, announced });
        let budget = self.transport.budget(consumer.most_attempts());
        let (alone, data) = (self.alone.clone(), self.handlers.data.clone());
        let added = ConsumerLoop::new(consumer, budget, alone, data, at_once, deliveries);
        self.inboxes.add(added.prune());
        Ok(added)
    }

    /// What operators are told of them.
    pub(super) fn announced(&self) -> Vec<Announced> {
        self.known().values().map(|known| known.announced.clone()).collect()
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
