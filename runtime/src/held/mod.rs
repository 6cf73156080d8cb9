//! The message store as this process holds it: rows, leases on them, and the order in which both change.
//!
//! Rows are let go of *before* a statement frees them: this process, too, may claim them as soon as they are free, and
//! what it has just claimed must not look as if it were still being worked on.

mod batch;
mod give_back;
pub(crate) mod lease;
mod renew;
mod settle;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::message::{Half, MessageId};
use crate::settings::Backoff;
use crate::store::{Hold, Store, StoreError, Token};
pub(crate) use batch::fit;
use lease::Leases;
pub(crate) use settle::{Row, Tried, tell_operator};

/// A cheap handle, with the name of the worker that has it: failures are logged under that name.
#[derive(Clone, Debug)]
pub(crate) struct HeldStore {
    shared: Arc<Shared>,
    worker: &'static str,
}

#[derive(Debug)]
struct Shared {
    store: Arc<dyn Store>,
    leases: Leases,
    /// The pauses while the store does not answer.
    backoff: Backoff,
}

impl HeldStore {
    pub(crate) fn new(store: Arc<dyn Store>, lease: Duration, backoff: Backoff) -> Self {
        Self { shared: Arc::new(Shared { store, leases: Leases::new(lease), backoff }), worker: "call" }
    }

    /// The same store, for another worker.
    pub(crate) fn of(&self, worker: &'static str) -> Self {
        Self { shared: Arc::clone(&self.shared), worker }
    }

    /// The store itself, for statements that change nothing about what is held.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    pub(crate) fn leases(&self) -> &Leases {
        &self.shared.leases
    }

    /// What makes rows ours.
    pub(crate) fn hold(&self) -> Hold {
        self.leases().hold()
    }

    pub(crate) fn token(&self) -> Token {
        self.leases().token()
    }

    /// The pause after so many failures in a row.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        self.shared.backoff.delay(failures)
    }

    /// Stores halves durably, all or none. They are not counted as held yet: see [`Leases::took`].
    pub(crate) async fn insert(&self, halves: &[&Half]) -> Result<(), StoreError> {
        self.store().insert_halves(halves, self.hold()).await
    }

    pub(crate) fn let_go(&self, ids: impl IntoIterator<Item = MessageId>) {
        self.leases().let_go(&ids.into_iter().collect::<Vec<_>>());
    }

    /// Notes a failure of the store in the log.
    pub(crate) fn log(&self, error: &StoreError) {
        let worker = self.worker;
        match error {
            StoreError::Unavailable(_) | StoreError::TimedOut(_) | StoreError::Contended(_) => {
                tracing::warn!(worker, %error, "the store does not answer; will try again");
            }
            StoreError::Unexpected(_) => {
                tracing::warn!(worker, %error, "the store failed in a way that is not known; will try again");
            }
            StoreError::Schema(_) | StoreError::Refused(_) => {
                tracing::error!(worker, %error, "the store refused");
            }
        }
    }

    /// Runs a statement that frees rows, and holds those again that it did not: what is not freed must not lapse.
    /// Whether they are surely ours, the next renewal tells.
    async fn freeing<T>(
        &self,
        ids: &[MessageId],
        statement: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let held: Vec<_> = ids.iter().filter(|id| self.leases().holds(id)).copied().collect();
        self.leases().let_go(ids);
        let done = statement.await;
        if done.is_err() {
            self.leases().took(held, Instant::now());
        }
        done
    }
}
