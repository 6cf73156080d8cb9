//! The lease renewer: renews the leases of everything that this process holds.

use async_trait::async_trait;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::held::HeldStore;

/// Renews leases; with none to renew, it still keeps in contact with the store.
#[derive(Debug)]
pub(crate) struct LeaseRenewer {
    held: HeldStore,
    /// Whether it was said that the store is slow.
    said: bool,
}

impl LeaseRenewer {
    pub(crate) fn new(held: &HeldStore) -> Self {
        Self { held: held.of(Self::NAME), said: false }
    }

    /// Says that nothing is taken over, once: messages of processes that died wait meanwhile.
    fn say_whether_slow(&mut self) {
        let leases = self.held.leases();
        let is_slow = leases.store_is_slow();
        if is_slow && !self.said {
            let lease = leases.hold().lease;
            tracing::warn!(
                ?lease,
                "the message store keeps failing, or takes longer than the lease to answer, so messages of processes \
                 that died wait; make the setting `lease` longer, in all processes, or the store faster"
            );
        }
        self.said = is_slow;
    }
}

#[async_trait]
impl Worker for LeaseRenewer {
    const NAME: &'static str = "lease_renewer";

    async fn run(&mut self, stop: &CancellationToken) {
        let mut tick = tokio::time::interval(self.held.leases().tick());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            if let Err(error) = self.held.keep_in_contact().await {
                self.held.log(&error);
            }
            self.say_whether_slow();
        }
    }
}
