//! Deletes what is finished and old: messages with their fence rows, and operations.

use std::collections::HashMap;
use std::time::Duration;

use crate::fault;
use crate::fence::FenceDatabase;
use crate::fence::registry::Fences;
use crate::held::HeldStore;
use crate::message::{AnsweredBy, FenceId, MessageId};
use crate::store::{Finished, StoreError};
use crate::telemetry::catalogue::PRUNED;
use crate::telemetry::labels::Pruned;

/// Rows deleted in one statement.
pub(crate) const BATCH: u32 = 500;
/// Batches in one round: a bound on a runaway, far above what a round finds.
pub(crate) const BATCHES: usize = 1000;

/// What is deleted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pruning<'a> {
    pub(crate) held: &'a HeldStore,
    pub(crate) fences: &'a Fences,
    /// For how long it has been finished.
    pub(crate) older_than: Duration,
}

/// What became of some messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    pub(crate) deleted: u64,
    /// There may be more.
    pub(crate) more: bool,
}

impl Pruning<'_> {
    /// Some messages. Without progress there are no more for now: their fence does not answer.
    pub(crate) async fn messages(self) -> Result<Batch, StoreError> {
        let store = self.held.store();
        let finished = store.finished(self.older_than, BATCH, &self.fences.answerers()).await?;
        let full = finished.len() == BATCH as usize;
        let ids = self.forget_fences(finished).await;
        if ids.is_empty() {
            return Ok(Batch { deleted: 0, more: false });
        }
        fault::point("janitor-between");
        let deleted = store.delete_finished(&ids).await?;
        PRUNED.at(Pruned::Messages).increment(deleted);
        Ok(Batch { deleted, more: full })
    }

    /// Fence rows of calls whose body had nothing to send, and whose attribute no message either.
    pub(crate) async fn withheld(self) {
        for (_, fence) in self.fences.iter() {
            if let Err(error) = self.withheld_of(fence.as_ref()).await {
                self.held.log(&error);
            }
        }
    }

    async fn withheld_of(self, fence: &dyn FenceDatabase) -> Result<(), StoreError> {
        for _ in 0..BATCHES {
            let pruned = fence.forget_withheld(self.older_than, BATCH).await?;
            PRUNED.at(Pruned::Withheld).increment(pruned);
            if pruned < u64::from(BATCH) {
                break;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Operations that are over. Says how many.
    pub(crate) async fn operations(self) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let pruned = self.held.store().prune_operations(self.older_than, OPERATIONS).await?;
            all += pruned;
            if pruned < u64::from(OPERATIONS) {
                return Ok(all);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Deletes the fence rows of finished messages, and says which messages have none any more.
    ///
    /// The fence goes first: a crash in between leaves a message without a fence row, which is
    /// found again, and never a fence row without a message.
    async fn forget_fences(self, finished: Vec<Finished>) -> Vec<MessageId> {
        let mut without = Vec::new();
        let mut by_fence: HashMap<FenceId, Vec<Finished>> = HashMap::new();
        for one in finished {
            match one.answered_by {
                Some(AnsweredBy::Fence(identity)) => by_fence.entry(identity).or_default().push(one),
                _ => without.push(one.id),
            }
        }
        for (identity, finished) in by_fence {
            let Some(fence) = self.fences.by_identity(identity) else { continue };
            let calls: Vec<_> = finished.iter().map(|one| one.call_id).collect();
            match fence.forget(&calls).await {
                Ok(()) => without.extend(finished.iter().map(|one| one.id)),
                Err(error) => self.held.log(&error),
            }
        }
        without
    }
}

/// Operations deleted in one transaction, each with all its items.
const OPERATIONS: u32 = 10;
