//! The keeper: renews the leases of everything that this process holds.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{Worker, log_store_error};
use crate::core::Core;
use crate::message::MessageId;
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
    /// Renews once, or else keeps in contact.
    async fn run_once(&self) -> Result<(), StoreError> {
        let _turn = self.core.leases.turn().await;
        let due = self.core.leases.to_renew();
        if due.is_empty() { renew(&self.core, &[]).await } else { renew_all(&self.core, &due).await }
    }

    /// Says that nothing is taken over, once: messages of processes that died wait meanwhile.
    fn say_whether_slow(&mut self) {
        let is_slow = self.core.leases.store_is_slow();
        if is_slow && !self.said {
            let lease = self.core.settings.lease;
            tracing::warn!(
                ?lease,
                "the message store keeps failing, or takes longer than the lease to answer, so messages of processes \
                 that died wait; make the setting `lease` longer, in all processes, or the store faster"
            );
        }
        self.said = is_slow;
    }
}

/// Renews everything that this process holds and that needs it, for somebody who can't wait for the
/// keeper. Of many who can't, the first does it for all.
pub(crate) async fn renew_due(core: &Core) -> Result<(), StoreError> {
    let _turn = core.leases.turn().await;
    renew_all(core, &core.leases.to_renew()).await
}

async fn renew_all(core: &Core, due: &[MessageId]) -> Result<(), StoreError> {
    for batch in due.chunks(BATCH) {
        renew(core, batch).await?;
    }
    Ok(())
}

async fn renew(core: &Core, batch: &[MessageId]) -> Result<(), StoreError> {
    let (begun, deadline) = (Instant::now(), core.leases.deadline());
    let answer = core.store.renew(batch, core.leases.hold()).await?;
    core.leases.renewed(batch, &answer.ids, &answer.locked, deadline);
    core.leases.in_contact(begun, answer.database_clock);
    Ok(())
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
