//! The statements of a consumer's inbox.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::Pool;

use super::namespace::Namespace;
use super::table_place::TablePlace;
use super::transaction::TransactionDialect;
use crate::message::MessageId;
use crate::store::StoreError;

/// How a database records and recognises messages.
pub trait InboxDialect: TransactionDialect {
    /// Creates or updates the inbox; says where it is.
    fn migrate_inbox<'p>(
        pool: &'p Pool<Self>,
        place: &'p TablePlace,
    ) -> BoxFuture<'p, Result<Namespace, StoreError>>;

    /// Checks the inbox; says where it is.
    fn check_inbox<'p>(
        pool: &'p Pool<Self>,
        place: &'p TablePlace,
    ) -> BoxFuture<'p, Result<Namespace, StoreError>>;

    /// Records a message as the transaction's first statement.
    fn enter_inbox<'c>(
        connection: &'c mut Self::Connection,
        message: InboxKey<'c>,
    ) -> BoxFuture<'c, Result<InboxEntry, StoreError>>;

    /// Records more messages in the same transaction, in one statement. `false`: one of them is recorded already, and the
    /// transaction is to be rolled back.
    fn enter_more<'c>(
        connection: &'c mut Self::Connection,
        queue: InboxQueue<'c>,
        messages: &'c [InboxKey<'c>],
    ) -> BoxFuture<'c, Result<bool, StoreError>>;

    /// Proves that the record is part of the open transaction. `false`: a record of the message may have been
    /// pruned, which only now could be seen.
    fn prove_inbox<'c>(
        connection: &'c mut Self::Connection,
        message: InboxKey<'c>,
    ) -> BoxFuture<'c, Result<bool, StoreError>>;

    /// In a transaction: forgets messages that were received and made longer than `age` ago, at most `limit`, and
    /// notes up to when.
    fn prune_inbox<'c>(
        connection: &'c mut Self::Connection,
        queue: InboxQueue<'c>,
        age: Duration,
        limit: u32,
    ) -> BoxFuture<'c, Result<u64, StoreError>>;

    /// How often each message was entered alone, and no end of that is known.
    fn entries<'c>(
        connection: &'c mut Self::Connection,
        queue: InboxQueue<'c>,
    ) -> BoxFuture<'c, Result<Vec<(MessageId, i64)>, StoreError>>;

    /// In a transaction: notes that a message is about to be handled alone. `false`: its effect has happened. Fails
    /// soon when somebody is handling it.
    fn enter_alone<'c>(
        connection: &'c mut Self::Connection,
        message: InboxKey<'c>,
    ) -> BoxFuture<'c, Result<bool, StoreError>>;

    /// In a transaction: takes the last such note back, or all of a message.
    fn leave_alone<'c>(
        connection: &'c mut Self::Connection,
        message: InboxKey<'c>,
        all: bool,
    ) -> BoxFuture<'c, Result<(), StoreError>>;

    /// Ends a session that still works for a transaction whose client has left.
    fn end_session(pool: &Pool<Self>, session: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        let _ = (pool, session);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A queue, and where its inbox is.
#[derive(Clone, Copy, Debug)]
pub struct InboxQueue<'k> {
    #[cfg_attr(
        not(any(feature = "postgres", feature = "mysql")),
        expect(dead_code, reason = "a SQLite file has no schemas")
    )]
    pub(crate) namespace: &'k Namespace,
    pub(crate) name: &'k str,
}

/// A message, as a queue's inbox has it.
#[derive(Clone, Copy, Debug)]
pub struct InboxKey<'k> {
    pub(crate) queue: InboxQueue<'k>,
    pub(crate) id: MessageId,
    /// Since when it could have been delivered, in milliseconds since 1970; far in the future if its id does not say.
    pub(crate) begins: i64,
    /// The same of one that had a delay, else 0. It counts as received no earlier: the store's clock may be ahead, and what is
    /// remembered must not be forgotten before the message is too old.
    pub(crate) due: i64,
}

/// The ids of messages and when they fell due, as a JSON list. In the order of their ids, so that nobody who records the same
/// ones waits for the other.
pub(crate) fn list(messages: &[InboxKey<'_>]) -> String {
    let mut messages: Vec<_> =
        messages.iter().map(|one| (one.id.as_uuid().simple().to_string(), one.due)).collect();
    messages.sort_unstable();
    serde_json::json!(messages).to_string()
}

/// What the inbox says of a message that is about to be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboxEntry {
    /// It is recorded now. With the number by which others can end this session.
    New { session: i64 },
    /// Its effect has happened.
    Known,
    /// It is not recorded, and older than what was pruned: its effect may have happened.
    Forgotten,
}
