//! The statements of a fenced transaction.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::SqlStr;

use super::key::{FenceKey, FenceRow, FenceWrite};
use super::transaction::{Giver, Isolation, TransactionDialect};
use crate::message::{CallId, Half};
use crate::store::{Hold, StoreError};

/// How a database writes and proves a fence row.
pub trait FenceDialect: TransactionDialect {
    /// Begins a transaction with the fence row in it. On an error, a transaction that sqlx counts as
    /// open is the caller's to roll back.
    fn begin_fenced(
        connection: &mut Self::Connection,
        isolation: Option<Isolation>,
        giver: Giver,
        fence: FenceKey,
    ) -> BoxFuture<'_, Result<(), FenceRefusal>>;

    /// Proves that the fence row is part of the open transaction, writes what was staged, and commits as
    /// [`commit`](TransactionDialect::commit) does.
    fn commit_fenced(
        connection: &mut Self::Connection,
        fence: FenceKey,
        write: FenceWrite,
    ) -> BoxFuture<'_, Result<(), CommitFailure>>;

    /// Puts the fence row into a transaction that somebody else has opened, and commits. Until
    /// [`done_statement`](Self::done_statement) it says that there is nothing to send.
    fn join_statement(fence: &FenceKey) -> SqlStr;

    /// What an error of that means. On PostgreSQL, the transaction has failed.
    fn join_refusal(error: sqlx::Error, fence: &FenceKey) -> FenceRefusal;

    /// Makes that row say that the message is to be sent, and adds [`FenceWrite::decided`]. Fails in any other transaction.
    fn done_statement(fence: &FenceKey, decided: Option<CallId>) -> SqlStr;

    /// The same, with the payload that was staged.
    fn done_amended(
        connection: &mut Self::Connection,
        fence: FenceKey,
        payload: Vec<u8>,
        decided: Option<CallId>,
    ) -> BoxFuture<'_, Result<(), sqlx::Error>>;

    /// Stores halves in the open transaction: where the message store is in the same file, which has one writer.
    fn insert_halves<'a>(
        connection: &'a mut Self::Connection,
        halves: &'a [Arc<Half>],
        hold: Hold,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let _ = (connection, halves, hold);
        let why = "this database has more than one writer: its store has connections of its own";
        Box::pin(std::future::ready(Err(StoreError::Unexpected(why.into()))))
    }

    /// Executes a text without parameters.
    fn execute(
        connection: &mut Self::Connection,
        statement: SqlStr,
    ) -> BoxFuture<'_, Result<(), sqlx::Error>>;
}

/// Why there is no fenced transaction.
#[derive(Debug)]
pub enum FenceRefusal {
    /// A tombstone is there: the call was cancelled.
    Fenced,
    /// The call's transaction has committed.
    AlreadyCommitted,
    /// The database is not the one that the half message belongs to.
    WrongDatabase,
    /// The database failed.
    Failed(StoreError),
}

impl FenceRefusal {
    /// What the row says that is there instead of ours.
    pub(crate) fn of_row(outcome: Option<i64>) -> Self {
        match outcome {
            None => Self::WrongDatabase,
            Some(code) if code == FenceRow::Tombstone.code() => Self::Fenced,
            Some(_) => Self::AlreadyCommitted,
        }
    }
}

/// Why a fenced transaction did not commit, as far as anybody knows.
#[derive(Debug)]
pub enum CommitFailure {
    /// It did not: the fence is not in place.
    Unproven(StoreError),
    /// It did not: a check-back has closed the row of the messages that the body has decided on.
    Fenced,
    /// It did not: the database rolled it back, as after a conflict with another transaction.
    RolledBack(sqlx::Error),
    /// It may have.
    Unclear(sqlx::Error),
}
