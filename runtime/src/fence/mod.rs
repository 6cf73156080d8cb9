//! The fence: a row, written in the business transaction, that answers a check-back exactly.
//!
//! [`begin`](crate::begin) inserts it as the transaction's first statement, keyed by the call's id; a check-back
//! inserts the same key as a *tombstone*. The unique key decides, and whoever is first wins. (The
//! idea is DTM's branch barrier; that the transaction waits instead of being killed comes from
//! writing it first.)

pub(crate) mod registry;
pub(crate) mod verdict;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;

use crate::message::limits::Limits;
use crate::message::{CallId, FenceId};
use crate::sql::{FenceKey, Namespace};
use crate::store::StoreError;
use verdict::Verdict;

/// Calls asked about in one statement.
const BATCH: usize = 256;

/// A database's identity, and what the fence row of a call says: its number, and the payload that replaces the first one.
pub(crate) type FoundRow = (FenceId, Option<i64>, Option<Vec<u8>>);

/// What a row says, as databases read it.
pub(crate) fn verdict((id, outcome, amended): (CallId, i64, Option<Vec<u8>>)) -> (CallId, Verdict) {
    (id, Verdict::of_row(outcome, amended))
}

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

    /// Inserts the tombstone of each call that has no fence row, and says what is there then. Waits for an open
    /// transaction only up to the lock time-out. Without an answer for a call, the database has another identity.
    async fn insert_tombstones(
        &self,
        identity: FenceId,
        call_ids: &[CallId],
    ) -> Result<Vec<(CallId, Verdict)>, StoreError>;

    /// What the rows say that are there, without writing any. Not an answer to a check-back where there is none: a
    /// transaction may be open.
    async fn find_rows(
        &self,
        identity: FenceId,
        call_ids: &[CallId],
    ) -> Result<Vec<(CallId, Verdict)>, StoreError>;

    /// The statement by which a client that is not ours puts a fence row into its transaction.
    fn join_statement(&self, key: &FenceKey) -> String;

    /// The one by which it says that it is done, which adds the row of the messages that the body has decided on.
    fn done_statement(&self, key: &FenceKey, decided: Option<CallId>) -> String;

    /// What a client that is not ours executes at its end when there is nothing to send: the row says so already.
    fn not_done_statement(&self, key: &FenceKey) -> String {
        let _ = key;
        String::new()
    }

    /// Where it is a file with one writer: which. A second transaction of the same task would wait for the first one.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// The database's identity, and the call's row if there is one.
    async fn find_row(&self, call_id: CallId) -> Result<Option<FoundRow>, StoreError>;

    /// Whether another transaction's lock is on rows, so that calls can be answered that it is not about. On SQLite it is
    /// on everything.
    fn locks_rows(&self) -> bool {
        true
    }

    /// Asks for calls. Never an error: what is not a clear answer is `Unknown`.
    async fn ask(&self, identity: FenceId, call_ids: &[CallId]) -> Vec<Verdict> {
        // A call with several messages is asked about once: a statement can't insert a row twice.
        let mut asked = call_ids.to_vec();
        asked.sort_unstable();
        asked.dedup();
        let mut answers = HashMap::new();
        for asked in asked.chunks(BATCH) {
            match self.insert_tombstones(identity, asked).await {
                Ok(some) => answers.extend(some),
                // One open transaction keeps no other call from being answered.
                Err(_) if self.locks_rows() && asked.len() > 1 => {
                    answers.extend(join_all(asked.iter().map(|id| self.ask_one(identity, *id))).await);
                }
                Err(error) => {
                    let unknown = |id: &CallId| (*id, Verdict::Unknown(error.to_string()));
                    answers.extend(asked.iter().map(unknown));
                }
            }
        }
        call_ids.iter().map(|id| answers.get(id).cloned().unwrap_or_else(Verdict::wrong_database)).collect()
    }

    /// Asks for one call.
    async fn ask_one(&self, identity: FenceId, call_id: CallId) -> (CallId, Verdict) {
        let answer = self.insert_tombstones(identity, &[call_id]).await;
        let answer = answer.map(|mut answers| answers.pop().map_or(Verdict::wrong_database(), |(_, it)| it));
        (call_id, answer.unwrap_or_else(|error| Verdict::Unknown(error.to_string())))
    }

    /// What the fence row says, without writing one where none is. Not an answer to a check-back:
    /// a transaction may be open.
    async fn read(&self, identity: FenceId, call_id: CallId) -> Option<Verdict> {
        match self.find_row(call_id).await {
            Ok(Some((found, outcome, amended))) if found == identity => {
                outcome.map(|outcome| Verdict::of_row(outcome, amended))
            }
            Ok(_) => Some(Verdict::wrong_database()),
            Err(error) => Some(Verdict::Unknown(error.to_string())),
        }
    }

    /// Deletes fence rows whose messages are finished.
    async fn forget(&self, call_ids: &[CallId]) -> Result<(), StoreError>;

    /// Deletes rows, made longer than `age` ago, that say that there is nothing to send: also those of calls that have no
    /// message. Without it, a call would be answered the same. Says how many there were, `limit` at most.
    async fn forget_withheld(&self, age: Duration, limit: u32) -> Result<u64, StoreError>;

    /// The oldest calls that have a fence row and were made longer than `age` ago.
    async fn older_than(&self, age: Duration, limit: u32) -> Result<Vec<CallId>, StoreError>;

    /// Closes the connections.
    async fn close(&self);
}
