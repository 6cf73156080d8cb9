//! Gives rows back to the store, for anybody to take up later.

use std::sync::Arc;
use std::time::Duration;

use super::HeldStore;
use super::batch::fit;
use crate::message::{Half, MessageId};
use crate::store::{Attempts, Release, StoreError};

impl HeldStore {
    /// Gives back a row of ours, due at once.
    pub(crate) fn release(&self, id: MessageId) -> Release {
        Release { id, held_by: self.token(), after: Duration::ZERO, attempts: Attempts::Keep, reason: None }
    }

    /// Gives rows back. Returns those over which the store failed.
    pub(crate) async fn give_back(&self, back: Vec<Release>) -> Vec<Release> {
        let tried = self
            .each(&back, |back| async move {
                let ids: Vec<_> = back.iter().map(|one| one.id).collect();
                self.freeing(&ids, self.store().give_back(back)).await?;
                Ok(vec![(); back.len()])
            })
            .await;
        let (failed, over): (Vec<_>, Vec<_>) = back
            .into_iter()
            .zip(tried)
            .partition(|(_, tried)| matches!(tried, Err(StoreError::Unexpected(_))));
        // What is given back is nobody's; what was refused lapses.
        let refused = over.iter().filter(|(_, tried)| tried.is_err());
        self.leases().let_go(refused.map(|(one, _)| &one.id));
        failed.into_iter().map(|(one, _)| one).collect()
    }

    /// Leaves halves of calls that have ended to the store, to be asked about: stored again first, should they be gone
    /// from it, since from here on only the store knows of them. Returns those over which the store failed.
    pub(crate) async fn leave(&self, mut halves: Vec<(Arc<Half>, Release)>) -> Vec<(Arc<Half>, Release)> {
        let mut failed = Vec::new();
        while !halves.is_empty() {
            let count = fit(halves.iter().map(|(half, _)| (1, half.message.payload.len())));
            let rest = halves.split_off(count);
            failed.extend(self.leave_batch(halves).await);
            halves = rest;
        }
        failed
    }

    async fn leave_batch(&self, halves: Vec<(Arc<Half>, Release)>) -> Vec<(Arc<Half>, Release)> {
        let stored = self
            .each(&halves, |halves| async move {
                let rows: Vec<&Half> = halves.iter().map(|(half, _)| &**half).collect();
                self.insert(&rows).await?;
                Ok(vec![(); halves.len()])
            })
            .await;
        let (mut there, mut failed) = (Vec::new(), Vec::new());
        for ((half, back), stored) in halves.into_iter().zip(stored) {
            match stored {
                Err(StoreError::Unexpected(_)) => failed.push((half, back)),
                _ => there.push((half, back)),
            }
        }
        let not_back = self.give_back(there.iter().map(|(_, back)| back.clone()).collect()).await;
        failed.extend(there.into_iter().filter(|(_, back)| not_back.iter().any(|one| one.id == back.id)));
        failed
    }

    /// The same until the store has each of them.
    pub(crate) async fn leave_all(&self, mut halves: Vec<(Arc<Half>, Release)>) {
        let mut tries = 0;
        while !halves.is_empty() {
            halves = self.leave(halves).await;
            if !halves.is_empty() {
                tokio::time::sleep(self.pause(tries)).await;
                tries = tries.saturating_add(1);
            }
        }
    }
}
