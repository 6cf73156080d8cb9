//! Group commit: half messages of concurrent calls go to the store together.
//!
//! Nothing waits for company. A lone call's half is written at once; those that come while statements
//! are on their way are the next one. (Databases do the same with their logs.)

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::live::LiveCall;
use crate::held::{HeldStore, fit};
use crate::message::Half;
use crate::store::StoreError;
use crate::telemetry;
use crate::telemetry::catalogue::BATCH_MESSAGES;
use crate::telemetry::labels::Batch;

/// Calls that may be on their way to the store. More wait, each in its own future.
const PERMITS: usize = 4096;
/// Statements on their way at once: while one is being committed, the next one is being worked on.
const LANES: usize = 2;

/// The way of half messages to the store.
#[derive(Debug)]
pub(crate) struct GroupCommit {
    held: HeldStore,
    permits: Arc<Semaphore>,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    lanes_in_use: usize,
}

/// A call, and who waits for its halves to be stored.
#[derive(Debug)]
struct Waiting {
    call: Arc<LiveCall>,
    stored: oneshot::Sender<Result<(), StoreError>>,
}

/// The right to be on the way to the store.
pub(crate) type Permit = OwnedSemaphorePermit;

/// A lane that is given back when its statement panics.
struct Lane<'a>(&'a GroupCommit);

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        self.0.queue().lanes_in_use -= 1;
    }
}

impl GroupCommit {
    pub(crate) fn new(held: HeldStore) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(PERMITS));
        Arc::new(Self { held, permits, queue: Mutex::default() })
    }

    /// Waits for a permit. Cancel safe: nothing is on its way yet.
    pub(super) async fn admit(&self) -> Result<Permit, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        permit.map_err(|_| StoreError::Unavailable("the messenger has been shut down".into()))
    }

    /// Stores a call's halves durably, all or none.
    pub(super) async fn insert(
        self: Arc<Self>,
        call: Arc<LiveCall>,
        permit: Permit,
    ) -> Result<(), StoreError> {
        let stored = {
            let mut queue = self.queue();
            let free = queue.lanes_in_use < LANES;
            queue.lanes_in_use += usize::from(free);
            if free && queue.waiting.is_empty() {
                None
            } else {
                let (sender, stored) = oneshot::channel();
                queue.waiting.push(Waiting { call: Arc::clone(&call), stored: sender });
                if free {
                    tokio::spawn(Arc::clone(&self).drain());
                }
                Some(stored)
            }
        };
        let stored = match stored {
            Some(stored) => stored.await.unwrap_or_else(|_| {
                Err(StoreError::Unavailable("the statement with the half message panicked".into()))
            }),
            None => self.insert_alone(&call).await,
        };
        drop(permit);
        stored
    }

    /// The short cut of a call that nobody is before. Its lane goes on to those who came meanwhile.
    async fn insert_alone(self: &Arc<Self>, call: &LiveCall) -> Result<(), StoreError> {
        let lane = Lane(self);
        let stored = self.store(&call.halves().collect::<Vec<_>>()).await;
        // Under the lock: whoever comes now either finds the lane free or is seen here.
        let mut queue = self.queue();
        std::mem::forget(lane);
        if queue.waiting.is_empty() {
            queue.lanes_in_use -= 1;
        } else {
            tokio::spawn(Arc::clone(self).drain());
        }
        drop(queue);
        stored
    }

    /// Writes what is waiting, on a lane that is in use, until nothing is.
    async fn drain(self: Arc<Self>) {
        let lane = Lane(&self);
        loop {
            let batch = {
                let mut queue = self.queue();
                if queue.waiting.is_empty() {
                    queue.lanes_in_use -= 1;
                    std::mem::forget(lane);
                    return;
                }
                queue.take_batch()
            };
            self.write(batch).await;
        }
    }

    /// Writes a batch. One that fails by what may be one call's fault is written call by call, so that a poison
    /// one fails alone.
    async fn write(&self, batch: Vec<Waiting>) {
        let halves: Vec<_> = batch.iter().flat_map(|waiting| waiting.call.halves()).collect();
        let stored = self.store(&halves).await;
        let refused = batch.len() > 1 && stored.as_ref().is_err_and(StoreError::may_be_one_rows);
        for waiting in batch {
            // Each is answered at once: its caller waits, and need not wait for the others, too.
            let stored = if refused {
                self.store(&waiting.call.halves().collect::<Vec<_>>()).await
            } else {
                stored.clone()
            };
            // Nobody listens any more when the call was given up; its ticket cancels the half.
            let _ = waiting.stored.send(stored);
        }
    }

    async fn store(&self, halves: &[&Half]) -> Result<(), StoreError> {
        BATCH_MESSAGES.at(Batch::Half).record(telemetry::count(halves.len()));
        self.held.insert(halves).await
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// What has waited longest: as many calls as fit, and one at least.
    fn take_batch(&mut self) -> Vec<Waiting> {
        let bytes = |half: &Arc<Half>| half.message.payload.len();
        let size =
            |waiting: &Waiting| (waiting.call.halves.len(), waiting.call.halves.iter().map(bytes).sum());
        let count = fit(self.waiting.iter().map(size));
        self.waiting.drain(..count).collect()
    }
}
