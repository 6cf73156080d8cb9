//! Whose turn it is to write to a file.
//!
//! SQLite has one writer a file, and whoever waits for it polls: a process with many writers then
//! serves them by luck, and can keep one waiting for minutes. So the writers of one process queue
//! here first. Writers of other processes, and of other runtimes in this one, still wait in SQLite's
//! own way: a turn that is handed to a runtime that stands still would stop everybody.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::sync::{Mutex as Queue, OwnedMutexGuard};
use tokio::time::timeout;

use crate::store::StoreError;

/// The queues of all files that this process writes to.
static FILES: OnceLock<Mutex<Files>> = OnceLock::new();
type Files = HashMap<(PathBuf, Id), Weak<WriteQueue>>;

/// The queue of one file.
#[derive(Debug)]
pub(crate) struct WriteQueue {
    file: PathBuf,
    /// Held while waiting for the turn, so that only one waits there besides the urgent.
    order: Queue<()>,
    turn: Arc<Queue<()>>,
}

/// It is our turn until this is dropped.
pub(crate) type Turn = OwnedMutexGuard<()>;

impl WriteQueue {
    pub(crate) fn of(file: &Path) -> Arc<Self> {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let file = (canonical(&file).unwrap_or(file), Handle::current().id());
        let mut files = FILES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|_, queue| queue.strong_count() > 0);
        let known = files.get(&file).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let queue =
                Arc::new(Self { file: file.0.clone(), order: Queue::default(), turn: Arc::default() });
            files.insert(file, Arc::downgrade(&queue));
            queue
        })
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Waits in the order of arrival, at most for `patience`.
    pub(crate) async fn take(&self, patience: Duration) -> Result<Turn, StoreError> {
        let turn = async {
            let _order = self.order.lock().await;
            Arc::clone(&self.turn).lock_owned().await
        };
        timeout(patience, turn).await.map_err(|_| {
            StoreError::TimedOut(format!(
                "SQLite: others have been writing to the file for {patience:?}; it has one writer at a time"
            ))
        })
    }

    /// Waits for two others at most: for leases, which must not lapse.
    pub(crate) async fn take_urgently(&self) -> Turn {
        Arc::clone(&self.turn).lock_owned().await
    }
}

/// One name for a file, also before it is there: its folder is.
fn canonical(file: &Path) -> Option<PathBuf> {
    let folder = || Some(file.parent()?.canonicalize().ok()?.join(file.file_name()?));
    file.canonicalize().ok().or_else(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn turns_are_taken_in_order_and_the_urgent_goes_before_all_but_one() {
        let queue = WriteQueue::of(Path::new("order.db"));
        assert!(Arc::ptr_eq(&queue, &WriteQueue::of(Path::new("./order.db"))), "one queue a file");
        let (log, first) = (Arc::new(Mutex::new(Vec::new())), queue.take(PATIENCE).await.expect("free"));
        let mut waiting = tokio::task::JoinSet::new();
        for name in ["a", "b", "c", "urgent"] {
            let (queue, log) = (Arc::clone(&queue), Arc::clone(&log));
            waiting.spawn(async move {
                let _turn = match name {
                    "urgent" => queue.take_urgently().await,
                    _ => queue.take(PATIENCE).await.expect("in time"),
                };
                log.lock().expect("unpoisoned").push(name);
            });
            tokio::task::yield_now().await;
        }
        drop(first);
        waiting.join_all().await;
        assert_eq!(*log.lock().expect("unpoisoned"), ["a", "urgent", "b", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_has_an_end_that_is_explained() {
        let queue = WriteQueue::of(Path::new("patience.db"));
        let _first = queue.take(PATIENCE).await.expect("free");
        let error = queue.take(PATIENCE).await.expect_err("taken").to_string();
        assert!(error.contains("one writer at a time"), "{error}");
    }
}
