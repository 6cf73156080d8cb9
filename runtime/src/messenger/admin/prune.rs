//! Deleting what is old, sooner than the processes do.

use std::time::Duration;

use serde::Serialize;

use super::{Admin, refused};
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::worker::janitor::prune::{BATCH, Batch, Pruning};

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PrunedRows {
    /// Finished messages, with their fence rows.
    pub messages: u64,
    /// Operations that were over.
    pub operations: u64,
}

/// A process that stood still for less than this can't commit a call that was cancelled meanwhile: the fence row is still there.
const SHORTEST: Duration = Duration::from_hours(1);
/// So many are counted.
const COUNTED: u32 = 100_000;

impl Admin<'_> {
    /// How many messages [`prune`](Self::prune) would delete: counted up to 100 000.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] for less than an hour; [`ErrorKind::Unavailable`].
    pub async fn prunable(self, older_than: Duration) -> Result<u64, Error> {
        long_enough(older_than)?;
        let finished = self.store().finished(older_than, COUNTED, &self.calls().fences.answerers()).await;
        let finished = finished.map_err(|cause| cause.into_error("the messages could not be counted"))?;
        Ok(finished.len() as u64)
    }

    /// Deletes messages that have been finished for longer than that, with the fence rows of this messenger's fences, and
    /// operations that ended longer ago: what the processes do by themselves after the setting `retention`. Messages whose fence
    /// this messenger lacks are left alone. In small batches.
    ///
    /// Whatever is deleted is not recognised when it comes again: a message sent once more by a broker that was restored, say, is for
    /// the consumer's inbox alone to refuse. And a call whose fence was closed is not kept from committing any more, should its
    /// process have stood still for that long: keep finished messages for longer than that can be.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] for less than an hour; [`ErrorKind::Unavailable`]: some may be deleted.
    pub async fn prune(self, older_than: Duration) -> Result<PrunedRows, Error> {
        long_enough(older_than)?;
        let calls = self.calls();
        let pruning = Pruning { held: &calls.held, fences: &calls.fences, older_than };
        let failed = "not everything could be deleted";
        pruning.withheld().await;
        let operations = pruning.operations().await.map_err(|cause| cause.into_error(failed))?;
        let mut messages = 0;
        loop {
            let Batch { deleted, more } =
                pruning.messages().await.map_err(|cause| cause.into_error(failed))?;
            messages += deleted;
            if !more {
                return Ok(PrunedRows { messages, operations });
            }
        }
    }

    /// Deletes records of the audit that are older than that, and says how many. Nobody else does; and the rights that the tables
    /// need at run time don't include it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`], also without the right to.
    pub async fn prune_audit(self, older_than: Duration) -> Result<u64, Error> {
        let mut all = 0;
        loop {
            let pruned = self.store().prune_audit(older_than, BATCH).await;
            let pruned = pruned.map_err(|cause| cause.into_error("the audit could not be pruned"))?;
            all += pruned;
            if pruned < u64::from(BATCH) {
                return Ok(all);
            }
        }
    }
}

fn long_enough(older_than: Duration) -> Result<(), Error> {
    if older_than >= SHORTEST {
        return Ok(());
    }
    Err(refused(
        "what has been finished for less than an hour is kept: a process that stood still may come back to a call that was \
         cancelled, and only the fence row keeps it from committing"
            .into(),
    ))
}
