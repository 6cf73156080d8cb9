//! The fenced transaction: derefs to the connection, rolls back on drop, commits only when proven.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::open::OpenTransaction;
use crate::error::{Error, ErrorKind};
use crate::fault;
use crate::message::{Message, MessageId, Payload};
use crate::rules::body_state::Commit;
use crate::sql::{BusinessDatabase, CommitFailure, RawTransaction, WriteTurn};
use crate::store::StoreError;

/// The business transaction of a fenced call. Made by [`begin`](super::begin).
///
/// Use `&mut *tx` as the executor of the business statements. Dropped without
/// [`commit`](Self::commit), it is rolled back.
#[must_use = "dropped without `commit`, the transaction is rolled back"]
pub struct FencedTransaction<'c, DB: BusinessDatabase> {
    // Declared first, so that it is rolled back before the call may open another.
    tx: RawTransaction<'c, DB>,
    open: OpenTransaction,
    turn: WriteTurn,
}

impl<'c, DB: BusinessDatabase> FencedTransaction<'c, DB> {
    pub(super) const fn new(tx: RawTransaction<'c, DB>, open: OpenTransaction, turn: WriteTurn) -> Self {
        Self { tx, open, turn }
    }

    /// Replaces the payload of the call's message, for bodies that learn an id inside the
    /// transaction. It is written with the fence row by [`commit`](Self::commit).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidMessage`] when it can't be encoded or is too large;
    /// [`ErrorKind::Misuse`] when the call has not exactly one message.
    pub fn amend<M: Payload + ?Sized>(&mut self, message: &M) -> Result<(), Error> {
        let message = Message::json("", "", message).map_err(Error::in_body)?;
        self.open.amend(message.payload)
    }

    /// Sends a message with this transaction, besides those of the attribute. See [`send`](crate::send).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidMessage`] when it could never be stored or published.
    pub fn send(&mut self, message: Message) -> Result<MessageId, Error> {
        Ok(self.send_all([message])?[0])
    }

    /// The same for many messages, all or none of them. See [`send_all`](crate::send_all).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidMessage`] when one of them could never be stored or published.
    pub fn send_all(&mut self, messages: impl IntoIterator<Item = Message>) -> Result<Vec<MessageId>, Error> {
        self.open.running.stage(messages)
    }

    /// Stores the messages of [`send`](Self::send), proves that the fence row is still part of this transaction, and commits.
    ///
    /// # Errors
    /// [`ErrorKind::Unproven`]: the fence was not in place, because a statement failed and its
    /// error was swallowed, or the transaction was ended underneath; it was not committed.
    /// [`ErrorKind::RolledBack`]: the database did so, for a deferred constraint or a conflict with another transaction;
    /// after a conflict ([`Error::is_retryable`]) the body may begin again. [`ErrorKind::Unavailable`]: the database
    /// failed. The caller may not know then whether the commit took effect; the message is sent exactly if it did.
    /// Where the messages of [`send`](Self::send) could not be stored, it did not: [`ErrorKind::Unavailable`],
    /// [`ErrorKind::Schema`] or [`ErrorKind::InvalidMessage`], or [`ErrorKind::Fenced`] where a check-back has cancelled them
    /// before the commit.
    ///
    /// # Cancel safety
    /// A dropped `commit` may or may not take effect; the message is sent exactly if it did. A pooled
    /// connection is closed then. Close a bare one of PostgreSQL or MySQL, too: sqlx 0.9 may have lost track of what
    /// is still to be answered on it, and would wait for it forever.
    pub async fn commit(self) -> Result<(), Error> {
        let Self { mut tx, open, turn: _turn } = self;
        let function = open.function();
        let mut staged = match open.store_staged::<DB>(&mut tx).await {
            Ok(staged) => staged,
            Err(error) => {
                let _ = tx.rollback().await;
                return Err(error);
            }
        };
        staged.commit_begins(Commit::Unclear);
        // From here on, only the fence knows, unless the database says what became of it.
        tx.ends();
        let (fence, write) = (open.key(), open.commit_begins(staged.call_id()));
        let commit = async {
            if fault::bug("no-probe") {
                return DB::commit(&mut tx).await.map_err(CommitFailure::Unclear);
            }
            DB::commit_fenced(&mut tx, fence, write).await
        };
        let committed = fault::pending("commit-sent", commit).await;
        tx.ended();
        if committed.is_ok() {
            tx.restored();
        }
        let failure = match committed {
            Ok(()) if fault::is_lost("commit-sent") => {
                CommitFailure::Unclear(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into())
            }
            Ok(()) => {
                open.committed();
                staged.committed();
                tx.flush().await;
                return Ok(());
            }
            Err(failure) => failure,
        };
        if !matches!(failure, CommitFailure::Unclear(_)) {
            let _ = tx.rollback().await;
            open.commit_refused();
            staged.commit_refused();
        }
        Err(explain(failure, &function))
    }

    /// Rolls back now, instead of when the transaction is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the database failed; the transaction has ended all the same.
    ///
    /// # Cancel safety
    /// Dropped, the transaction is rolled back all the same.
    pub async fn rollback(self) -> Result<(), Error> {
        let Self { tx, open, turn: _turn } = self;
        let rolled_back = tx.rollback().await;
        rolled_back.map_err(|cause| {
            Error::new(ErrorKind::Unavailable, format!("the rollback of `{}` failed", open.function()))
                .with_source(cause)
                .in_body()
        })
    }
}

/// Class 40: a conflict with another transaction, and no constraint.
fn is_conflict(cause: &sqlx::Error) -> bool {
    let code = cause.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code.starts_with("40"))
}

fn explain(failure: CommitFailure, function: &str) -> Error {
    let error = match failure {
        CommitFailure::Unproven(cause) => Error::new(
            ErrorKind::Unproven,
            format!(
                "the transaction of `{function}` was not committed, because its fence is not in place; \
                 statements since it was ended underneath may have taken effect by themselves"
            ),
        )
        .with_source(cause),
        CommitFailure::Fenced => Error::new(
            ErrorKind::Fenced,
            format!(
                "the messages that `{function}` decided on were cancelled by a check-back before it committed: its \
                 transaction was rolled back, and nothing was done; try again"
            ),
        )
        .retryable(true),
        CommitFailure::RolledBack(cause) => Error::new(
            ErrorKind::RolledBack,
            format!(
                "the database rolled the transaction of `{function}` back, at its commit{}",
                if is_conflict(&cause) { "; it may be tried again" } else { "" }
            ),
        )
        .retryable(is_conflict(&cause))
        .with_source(StoreError::from(cause)),
        CommitFailure::Unclear(cause) => Error::new(
            ErrorKind::Unavailable,
            format!("the commit of `{function}` failed; whether it took effect will be found out"),
        )
        .with_source(StoreError::from(cause)),
    };
    error.in_body()
}

impl<DB: BusinessDatabase> Deref for FencedTransaction<'_, DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        &self.tx
    }
}

impl<DB: BusinessDatabase> DerefMut for FencedTransaction<'_, DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.tx
    }
}

impl<DB: BusinessDatabase> fmt::Debug for FencedTransaction<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FencedTransaction").field("function", &self.open.function()).finish_non_exhaustive()
    }
}
