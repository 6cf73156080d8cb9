//! The way of confirmed messages to the relay in memory, without one through the table.

use std::sync::Arc;

use tokio::sync::mpsc::PermitIterator;
use tokio::time::Instant;

use crate::core::Core;
use crate::message::Half;
use crate::transport::Outgoing;

/// Places at the relay for messages that are about to be confirmed as ours. When its queue is full, as sooner or
/// later while the broker is away, there are none: what is confirmed then is anybody's from the first.
pub(super) struct Places<'c> {
    core: &'c Core,
    permits: Option<PermitIterator<'c, Outgoing>>,
    deadline: Instant,
}

impl<'c> Places<'c> {
    /// Reserves as many as there are, and `wanted` at most: right before the statement that confirms.
    pub(super) fn reserve(core: &'c Core, wanted: usize) -> Self {
        let free = if core.settings.deliver { core.outgoing.capacity().min(wanted) } else { 0 };
        // None at all when another worker was faster, or the relay has ended.
        let permits = core.outgoing.try_reserve_many(free).ok();
        Self { core, permits, deadline: core.leases.deadline() }
    }

    pub(super) fn len(&self) -> usize {
        self.permits.as_ref().map_or(0, ExactSizeIterator::len)
    }

    /// Gives a message to the relay that was confirmed as ours.
    pub(super) fn hand_on(&mut self, half: Arc<Half>) {
        let Some(permit) = self.permits.as_mut().and_then(Iterator::next) else { return };
        if self.core.outgoing.is_closed() {
            // The relay has ended: it lapses.
            return;
        }
        self.core.leases.took([half.id], self.deadline);
        permit.send(Outgoing { half, attempt: 1, suspect: false });
    }
}
