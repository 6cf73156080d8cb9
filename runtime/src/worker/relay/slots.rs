//! The way of confirmed messages to the relay in memory, without one through the table.

use std::sync::Arc;

use tokio::sync::mpsc::{self, PermitIterator};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::held::HeldStore;
use crate::message::Half;
use crate::settings::Settings;
use crate::transport::{Outgoing, Transport};

/// The relay's queue, for those who confirm.
#[derive(Clone, Debug)]
pub(crate) struct RelayQueue {
    sender: mpsc::Sender<Queued>,
    /// The bytes of payloads that may still be in it.
    bytes: Arc<Semaphore>,
    held: HeldStore,
    transport: Arc<dyn Transport>,
    delivers: bool,
}

/// A message at the relay, in memory.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) outgoing: Outgoing,
    /// Since when it has been confirmed.
    pub(crate) since: std::time::Instant,
    pub(crate) memory: Memory,
}

/// The bytes of a payload, out of those that the relay may have in memory. Given back when it is dropped.
pub(crate) type Memory = OwnedSemaphorePermit;

/// Slots in the relay's queue for messages that are about to be confirmed as ours. When the queue is full, or its share
/// of the memory, as sooner or later while the broker is away, there are none: what is confirmed then is anybody's from
/// the first.
#[derive(Debug)]
pub(crate) struct RelaySlots<'q> {
    queue: &'q RelayQueue,
    permits: Option<PermitIterator<'q, Queued>>,
    /// One for each permit.
    memory: std::vec::IntoIter<Memory>,
}

impl RelayQueue {
    pub(crate) fn new(
        settings: &Settings,
        held: &HeldStore,
        transport: &Arc<dyn Transport>,
    ) -> (Self, mpsc::Receiver<Queued>) {
        let (sender, receiver) = mpsc::channel(settings.relay_queue);
        let queue = Self {
            sender,
            bytes: Arc::new(Semaphore::new(settings.relay_queue_bytes)),
            held: held.clone(),
            transport: Arc::clone(transport),
            delivers: settings.deliver,
        };
        (queue, receiver)
    }

    /// Reserves as many slots as there are, for the first of payloads with these `sizes`: right before the statement that
    /// confirms. Not for messages with a delay: they wait in the table, not here.
    pub(crate) fn reserve(&self, sizes: impl IntoIterator<Item = usize>) -> RelaySlots<'_> {
        let waiting = self.sender.max_capacity() - self.sender.capacity();
        let free = self.sender.capacity().min(self.transport.most_in_hand().saturating_sub(waiting));
        let free = if self.delivers { free } else { 0 };
        let take = |size| {
            let bytes = u32::try_from(size).unwrap_or(u32::MAX);
            Arc::clone(&self.bytes).try_acquire_many_owned(bytes).ok()
        };
        let mut memory: Vec<_> = sizes.into_iter().take(free).map_while(take).collect();
        // None at all when another worker was faster, or the relay has ended.
        let permits = self.sender.try_reserve_many(memory.len()).ok();
        if permits.is_none() {
            memory.clear();
        }
        RelaySlots { queue: self, permits, memory: memory.into_iter() }
    }
}

impl RelaySlots<'_> {
    pub(crate) fn len(&self) -> usize {
        self.permits.as_ref().map_or(0, ExactSizeIterator::len)
    }

    /// Gives a message to the relay that was confirmed as ours until `deadline`.
    pub(crate) fn enqueue(&mut self, half: Arc<Half>, deadline: Instant) {
        let Some(permit) = self.permits.as_mut().and_then(Iterator::next) else { return };
        let Some(memory) = self.memory.next() else { return };
        if self.queue.sender.is_closed() {
            // The relay has ended: it lapses.
            return;
        }
        self.queue.held.leases().took([half.id], deadline);
        let outgoing = Outgoing { half, attempt: 1, suspect: false };
        permit.send(Queued { outgoing, since: std::time::Instant::now(), memory });
    }
}
