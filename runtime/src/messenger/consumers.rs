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

/// Who consumes, and what it takes to add one.
#[derive(Debug)]
pub(crate) struct Consumers {
    transport: Arc<dyn Transport>,
    handlers: Arc<Registry>,
    alone: Alone,
    inboxes: Inboxes,
    /// How many batches are handled at once, by queue.
    concurrency: Mutex<BTreeMap<String, watch::Sender<usize>>>,
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
            concurrency: Mutex::default(),
        }
    }

    /// Opens the consumer's queue, which no other one may have. What it returns must be run.
    pub(super) fn add(&self, consumer: Consumer) -> Result<ConsumerLoop, Error> {
        consumer.validate(&self.handlers.data)?;
        let queue = consumer.queue().to_owned();
        let mut concurrency = self.concurrency();
        if concurrency.contains_key(&queue) {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!("there are two consumers of the queue `{queue}`: raise its `concurrency` instead"),
            ));
        }
        let (sender, at_once) = watch::channel(consumer.most_at_once());
        let deliveries = self.transport.subscribe(consumer.wanted(at_once.clone()))?;
        concurrency.insert(queue, sender);
        let budget = self.transport.budget(consumer.most_attempts());
        let (alone, data) = (self.alone.clone(), self.handlers.data.clone());
        let added = ConsumerLoop::new(consumer, budget, alone, data, at_once, deliveries);
        self.inboxes.add(added.prune());
        Ok(added)
    }

    /// The queues that they consume.
    pub(super) fn queues(&self) -> Vec<String> {
        self.concurrency().keys().cloned().collect()
    }

    pub(super) fn set_concurrency(&self, queue: &str, at_once: usize) -> Result<(), Error> {
        let concurrency = self.concurrency();
        let problem = match concurrency.get(queue) {
            Some(_) if at_once == 0 => NO_CONCURRENCY.to_owned(),
            Some(sender) => {
                // Said again, it changes nothing, and disturbs nobody.
                sender.send_if_modified(|now| std::mem::replace(now, at_once) != at_once);
                return Ok(());
            }
            None if concurrency.is_empty() => "this messenger has no consumers".to_owned(),
            None => {
                let queues: Vec<_> = concurrency.keys().map(|queue| format!("`{queue}`")).collect();
                format!("this messenger has no such consumer, but {}", queues.join(", "))
            }
        };
        let text = format!("the concurrency of the consumer `{queue}` can't be set to {at_once}: {problem}");
        Err(Error::new(ErrorKind::Configuration, text))
    }

    fn concurrency(&self) -> MutexGuard<'_, BTreeMap<String, watch::Sender<usize>>> {
        self.concurrency.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
