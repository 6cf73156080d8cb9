//! What a database must be able to do to hold business data that messages depend on.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::{Database, Pool, Transaction};
use uuid::Uuid;

use super::verdict::FenceRow;
use crate::message::MessageId;
use crate::store::StoreError;

/// A database whose transactions can be fenced, and can hold an inbox.
///
/// Implemented by the databases whose feature is on; not meant to be implemented elsewhere, and
/// not stable.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a database that transactional-message knows",
    note = "turn its feature on: `sqlite`"
)]
pub trait BusinessDatabase: Database {
    /// Whether a second transaction would wait for the first one of the same task.
    #[doc(hidden)]
    const WAITS_FOR_ITSELF: bool;

    /// Opens the transaction.
    #[doc(hidden)]
    const BEGIN: &'static str;

    /// Makes a rollback work also when the transaction was ended underneath: then there is none to
    /// roll back, sqlx counts it as open all the same, and the connection would go back to its
    /// pool like that.
    #[doc(hidden)]
    fn before_rollback(connection: &mut Self::Connection) -> BoxFuture<'_, ()> {
        let _ = connection;
        Box::pin(std::future::ready(()))
    }

    /// Inserts the fence row, as the transaction's first statement.
    #[doc(hidden)]
    fn open_fence(
        connection: &mut Self::Connection,
        identity: Uuid,
        call_id: MessageId,
    ) -> BoxFuture<'_, Result<Opened, FenceRefusal>>;

    /// Proves that the fence row is part of the open transaction, and writes what was staged.
    #[doc(hidden)]
    fn prove_fence(
        connection: &mut Self::Connection,
        call_id: MessageId,
        row: FenceRow,
        amended: Option<Vec<u8>>,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    #[doc(hidden)]
    fn migrate_inbox(pool: &Pool<Self>) -> BoxFuture<'_, Result<(), StoreError>>;

    #[doc(hidden)]
    fn check_inbox(pool: &Pool<Self>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Records a message as the transaction's first statement; `false` when it was there.
    #[doc(hidden)]
    fn enter_inbox<'c>(
        connection: &'c mut Self::Connection,
        queue: &'c str,
        message_id: MessageId,
    ) -> BoxFuture<'c, Result<bool, StoreError>>;

    /// Proves that the record is part of the open transaction.
    #[doc(hidden)]
    fn prove_inbox<'c>(
        connection: &'c mut Self::Connection,
        queue: &'c str,
        message_id: MessageId,
    ) -> BoxFuture<'c, Result<(), StoreError>>;

    #[doc(hidden)]
    fn prune_inbox<'p>(
        pool: &'p Pool<Self>,
        queue: &'p str,
        age: Duration,
        limit: u32,
    ) -> BoxFuture<'p, Result<u64, StoreError>>;
}

/// Rolls back, so that the connection is clean for whoever gets it next.
pub(crate) async fn roll_back<DB: BusinessDatabase>(mut tx: Transaction<'_, DB>) -> Result<(), sqlx::Error> {
    DB::before_rollback(&mut tx).await;
    tx.rollback().await
}

/// The fence row is in the transaction.
#[derive(Debug)]
pub struct Opened;

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
