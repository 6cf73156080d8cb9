//! The fence: a row, written in the business transaction, that answers a check-back exactly.
//!
//! [`begin`](crate::begin) inserts it as the transaction's first statement, keyed by the call's id; a check-back
//! inserts the same key as a *tombstone*. The unique key decides, and whoever is first wins. (The
//! idea is DTM's branch barrier; that the transaction waits instead of being killed comes from
//! writing it first.)

pub(crate) mod registry;
pub(crate) mod verdict;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::message::limits::Limits;
use crate::message::{CallId, FenceId};
use crate::sql::Namespace;
use crate::store::StoreError;
use verdict::Verdict;

/// The checker's side of a business database.
#[async_trait]
pub(crate) trait FenceDatabase: fmt::Debug + Send + Sync {
    /// Creates or updates the tables, and gives the database its identity.
    async fn migrate(&self) -> Result<(), StoreError>;

    /// Errs, with [`StoreError::Refused`] and the remedy in its text, when the server is set so that something of ours
    /// could never work there: amended messages within `limits` among it.
    async fn check_server(&self, limits: Limits) -> Result<(), StoreError> {
        let _ = limits;
        Ok(())
    }

    /// The settings under which a commit can be lost that was reported, each as a text.
    async fn weaknesses(&self) -> Result<Vec<String>, StoreError>;

    /// Where the tables are: statements on the application's connections name it.
    fn namespace(&self) -> Namespace;

    /// The identity of the database, which every half that belongs to it records. Errs when the
    /// application's pool does not lead to it.
    async fn identity(&self) -> Result<FenceId, StoreError>;

    /// Asks for calls: inserts the tombstone where no fence row is. Waits for an open transaction
    /// only up to the lock time-out. Never an error: what is not a clear answer is `Unknown`.
    async fn ask(&self, identity: FenceId, call_ids: &[CallId]) -> Vec<Verdict>;

    /// What the fence row says, without writing one where none is. Not an answer to a check-back:
    /// a transaction may be open.
    async fn read(&self, identity: FenceId, call_id: CallId) -> Option<Verdict>;

    /// Deletes fence rows whose messages are finished.
    async fn forget(&self, call_ids: &[CallId]) -> Result<(), StoreError>;

    /// The oldest calls that have a fence row and were made longer than `age` ago.
    async fn older_than(&self, age: Duration, limit: u32) -> Result<Vec<CallId>, StoreError>;

    /// Closes the connections.
    async fn close(&self);
}
