//! Counts of messages. Finished rows may be millions: one count of them at a time is enough.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::task::AbortHandle;

use super::Messenger;
use crate::error::Error;
use crate::store::{Stats, Store, StoreError, Unfinished};

impl Messenger {
    /// Counts by state, and the age of the oldest unfinished message. Counts every row that is kept, which takes
    /// seconds when there are millions: see [`unfinished`](Self::unfinished) for what is worth an alert. Who asks while
    /// a count is under way gets the result of that one.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable), also when the count takes more than five seconds.
    ///
    /// # Cancel safety
    /// Cancel safe; a count that was begun goes on, for at most five seconds.
    pub async fn stats(&self) -> Result<Stats, Error> {
        let stats = self.core().counting.join(&self.core().store).await;
        stats.map_err(|cause| cause.into_error("the messages could not be counted"))
    }

    /// Counts what is not delivered or cancelled, and what waits for an operator; and the age of the oldest message on
    /// its way. Reads no other rows, so that it costs the same however many finished messages are kept.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable)
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn unfinished(&self) -> Result<Unfinished, Error> {
        let unfinished = self.core().store.unfinished().await;
        unfinished.map_err(|cause| cause.into_error("the messages could not be counted"))
    }
}

/// The count that is under way. In a task of its own: the statement goes on without its caller.
#[derive(Default)]
pub(crate) struct Counting(Mutex<Option<(AbortHandle, Count)>>);

type Count = Shared<BoxFuture<'static, Result<Stats, StoreError>>>;

impl Counting {
    fn join(&self, store: &Arc<dyn Store>) -> Count {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((task, count)) = running.as_ref()
            && !task.is_finished()
        {
            return count.clone();
        }
        let store = Arc::clone(store);
        let task = tokio::spawn(async move { store.stats().await });
        let handle = task.abort_handle();
        let count = async {
            task.await.unwrap_or_else(|failed| Err(StoreError::Unavailable(format!("counting: {failed}"))))
        };
        let count = count.boxed().shared();
        *running = Some((handle, count.clone()));
        count
    }
}

impl fmt::Debug for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counting").finish_non_exhaustive()
    }
}
