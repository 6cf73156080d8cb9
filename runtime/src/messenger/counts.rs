//! Counts of messages. Finished rows may be millions: one count of them at a time is enough.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::task::AbortHandle;

use crate::store::{Stats, Store, StoreError};

/// The count that is under way. In a task of its own: the statement goes on without its caller.
#[derive(Default)]
pub(crate) struct Counting(Mutex<Option<(AbortHandle, Count)>>);

type Count = Shared<BoxFuture<'static, Result<Stats, StoreError>>>;

impl Counting {
    pub(super) fn join(&self, store: &Arc<dyn Store>) -> Count {
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
