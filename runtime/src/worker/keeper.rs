//! The keeper: renews the leases of everything that this process holds.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{Worker, log_store_error};
use crate::core::Core;
use crate::store::StoreError;

/// Rows renewed in one statement.
const BATCH: usize = 500;

/// Renews leases; with none to renew, it still keeps in contact with the store.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) core: Arc<Core>,
    /// Whether it was said that the store is slow.
    pub(crate) said: bool,
}

impl Keeper {
    /// Renews once, in batches. Says how many rows were renewed.
    pub(crate) async fn run_once(&self) -> Result<usize, StoreError> {
        let core = &self.core;
        let due = core.leases.to_renew();
        let mut renewed = 0;
        // An empty batch keeps the contact.
        for batch in due.chunks(BATCH).chain(due.is_empty().then_some(&[][..])) {
            let deadline = core.leases.deadline();
            let answer = core.store.renew(batch, core.leases.hold()).await?;
            core.leases.renewed(batch, &answer.ids, &answer.locked, deadline);
            core.leases.in_contact(answer.database_clock);
            renewed += answer.ids.len();
        }
        Ok(renewed)
    }

    /// Says that nothing is taken over, once: messages of processes that died wait meanwhile.
    fn say_whether_slow(&mut self) {
        let is_slow = self.core.leases.store_is_slow();
        if is_slow && !self.said {
            let lease = self.core.settings.lease;
            tracing::warn!(
                ?lease,
                "the message store keeps taking longer than a quarter of the lease to answer, so messages of \
                 processes that died wait; make the setting `lease` longer, in all processes, or the store faster"
            );
        }
        self.said = is_slow;
    }
}

#[async_trait]
impl Worker for Keeper {
    const NAME: &'static str = "keeper";

    async fn run(&mut self, stop: &CancellationToken) {
        let mut tick = tokio::time::interval(self.core.leases.tick());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            if let Err(error) = self.run_once().await {
                log_store_error(Self::NAME, &error);
            }
            self.say_whether_slow();
        }
    }
}
