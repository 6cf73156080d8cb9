//! Handles one delivery: beside others, or alone.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::inbox::{Given, Inbox, Item};
use crate::fault;
use crate::message::{Message, MessageId, age};
use crate::telemetry::labels::Buried;
use crate::transport::{Delivery, Disposition};
use crate::worker::alone::Alone;
use crate::worker::panic_text;

/// What it takes to handle a delivery.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) inbox: Arc<dyn Inbox>,
    /// After how many attempts a failure is final.
    pub(super) budget: u32,
    pub(super) alone: Alone,
    pub(super) given: Given,
    pub(super) under_way: UnderWay,
}

/// The messages that are being handled here. One that is delivered again meanwhile takes no second place, and no
/// second connection, only to wait for the first.
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWay(Arc<Mutex<HashSet<MessageId>>>);

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
    pub(super) async fn handle(self, delivery: Delivery) {
        let _beside = self.alone.beside_others().await;
        let Some((delivery, claimed)) = self.claim(delivery) else { return };
        fault::point("received");
        let Delivery { id, message, attempt, settle, .. } = delivery;
        let mut settle = Some(settle);
        if fault::bug("ack-before-commit") {
            settle.take().map(|settle| settle.send(Disposition::Done));
        }
        let age = age(id, message.schedule.due());
        let handled = self.within_budget(age, attempt, self.run(id, message, attempt, false).await);
        drop(claimed);
        // Nobody listens any more when that one gave up: the message comes again.
        settle.map(|settle| settle.send(handled));
    }

    /// Handles several deliveries together, beside others.
    pub(super) async fn handle_all(self, deliveries: Vec<Delivery>) {
        let _beside = self.alone.beside_others().await;
        let (mut items, mut settles, mut claims) = (Vec::new(), Vec::new(), Vec::new());
        for (delivery, claimed) in deliveries.into_iter().filter_map(|delivery| self.claim(delivery)) {
            fault::point("received");
            let Delivery { id, message, attempt, settle, .. } = delivery;
            items.push(Item { id, message, attempt });
            settles.push(settle);
            claims.push(claimed);
        }
        let handled = self.run_all(items).await;
        drop(claims);
        for (settle, handled) in settles.into_iter().zip(handled) {
            let _ = settle.send(handled);
        }
    }

    /// Calls the handler with all of them, in a task of its own; and where that fails, with one after the other.
    pub(super) async fn run_all(&self, items: Vec<Item>) -> Vec<Disposition> {
        let items = Arc::new(items);
        if items.len() > 1 {
            let (inbox, given, all) = (Arc::clone(&self.inbox), self.given.clone(), Arc::clone(&items));
            let task = tokio::spawn(async move { inbox.process_together(&all, &given).await });
            match AbortOnDropHandle::new(task).await {
                Ok(Ok(())) => return vec![Disposition::Done; items.len()],
                Ok(Err(why)) => {
                    let count = items.len();
                    tracing::info!(
                        count,
                        why,
                        "a batch of messages was not handled; each is handled by itself"
                    );
                }
                Err(_) => {
                    tracing::warn!("the handler of a batch panicked; each message is handled by itself");
                }
            }
        }
        let mut handled = Vec::with_capacity(items.len());
        for Item { id, message, attempt } in Arc::unwrap_or_clone(items) {
            let age = age(id, message.schedule.due());
            let became = self.run(id, message, attempt, false).await;
            handled.push(self.within_budget(age, attempt, became));
        }
        handled
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
        let _ = delivery.settle.send(Disposition::NotNow("it is still being handled in this process".into()));
        None
    }

    /// Calls the handler, in a task of its own, so that a panic fails this message and nothing else.
    pub(super) async fn run(
        &self,
        id: MessageId,
        message: Message,
        attempt: u32,
        entered: bool,
    ) -> Disposition {
        let (inbox, given) = (Arc::clone(&self.inbox), self.given.clone());
        let task = tokio::spawn(async move { inbox.process(id, message, attempt, entered, &given).await });
        match AbortOnDropHandle::new(task).await {
            Ok(handled) => handled,
            Err(failed) => Disposition::Failed(match failed.try_into_panic() {
                Ok(panic) => format!("the handler panicked: {}", panic_text(panic.as_ref())),
                Err(failed) => failed.to_string(),
            }),
        }
    }

    /// A failure that was the last attempt is final.
    pub(super) fn within_budget(&self, age: Duration, attempt: u32, handled: Disposition) -> Disposition {
        let retention = self.given.limits.retention;
        match handled {
            Disposition::Failed(why) | Disposition::FailedFor(_, why) if attempt >= self.budget => {
                let why = format!("failed {attempt} times; the last time: {why}");
                Disposition::Rejected(Buried::Attempts, why)
            }
            Disposition::FailedFor(pause, why) if age + pause > retention => {
                let why = format!(
                    "{why}; in {pause:?}, when it was to be tried again, this consumer would not recognise it any more: \
                     its `inbox_retention` is {retention:?}"
                );
                Disposition::Rejected(Buried::TooOld, why)
            }
            handled => handled,
        }
    }
}
