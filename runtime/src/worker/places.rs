//! The way of confirmed messages to the relay in memory, without one through the table.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::PermitIterator;
use tokio::time::Instant;

use crate::core::Core;
use crate::message::Half;
use crate::transport::Outgoing;

/// Places at the relay for messages that are about to be confirmed as ours. When its queue is full, or its share of
/// the memory, as sooner or later while the broker is away, there are none: what is confirmed then is anybody's from
/// the first.
pub(super) struct Places<'c> {
    core: &'c Core,
    permits: Option<PermitIterator<'c, Placed>>,
    /// One for each permit.
    rooms: std::vec::IntoIter<Room>,
}

/// A message at the relay, in memory.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) outgoing: Outgoing,
    pub(crate) room: Room,
}

/// The bytes of a payload, out of those that the relay may have in memory. Given back when it is dropped.
pub(crate) type Room = OwnedSemaphorePermit;

impl<'c> Places<'c> {
    /// Reserves as many as there are, for the first of payloads with these `sizes`: right before the statement that
    /// confirms.
    pub(super) fn reserve(core: &'c Core, sizes: impl IntoIterator<Item = usize>) -> Self {
        let queue = &core.outgoing;
        let waiting = queue.max_capacity() - queue.capacity();
        let free = queue.capacity().min(core.transport.most_in_hand().saturating_sub(waiting));
        let free = if core.settings.deliver { free } else { 0 };
        let room = |size| {
            let bytes = u32::try_from(size).unwrap_or(u32::MAX);
            Arc::clone(&core.outgoing_bytes).try_acquire_many_owned(bytes).ok()
        };
        let mut rooms: Vec<_> = sizes.into_iter().take(free).map_while(room).collect();
        // None at all when another worker was faster, or the relay has ended.
        let permits = core.outgoing.try_reserve_many(rooms.len()).ok();
        if permits.is_none() {
            rooms.clear();
        }
        Self { core, permits, rooms: rooms.into_iter() }
    }

    pub(super) fn len(&self) -> usize {
        self.permits.as_ref().map_or(0, ExactSizeIterator::len)
    }

    /// Gives a message to the relay that was confirmed as ours until `deadline`.
    pub(super) fn hand_on(&mut self, half: Arc<Half>, deadline: Instant) {
        let Some(permit) = self.permits.as_mut().and_then(Iterator::next) else { return };
        let Some(room) = self.rooms.next() else { return };
        if self.core.outgoing.is_closed() {
            // The relay has ended: it lapses.
            return;
        }
        self.core.leases.took([half.id], deadline);
        permit.send(Placed { outgoing: Outgoing { half, attempt: 1, suspect: false }, room });
    }
}
