//! Messages that a body decides on: staged in its transaction, or stored at once. As with those of the attribute, a half
//! is durable before what it speaks of can have happened.

use std::sync::Arc;

use super::halves::{check, decided_half};
use super::running::{self, Running, misuse};
use super::scope::CallScope;
use super::storing::store;
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::message::{Half, Message, MessageId};
use crate::rules::body_state::{Commit, Resolver};

/// Sends a message that the running body has decided on, besides those of its attribute, which may have none
/// (`#[transactional_message(fence)]`). It is decided with the call: delivered exactly if the call took effect.
///
/// In a fenced call it belongs to the open transaction, and goes with its rollback. It is stored as a half message just
/// before the transaction commits, together with the others; if that fails, the transaction is rolled back.
/// [`FencedTransaction::send`](crate::FencedTransaction::send) and [`Entered::send`](crate::Entered::send) are the same where
/// the transaction is at hand. After [`enter_sql`](crate::enter_sql) it is stored at once. A rollback to a savepoint, as of a
/// nested transaction, takes no message back: send when the nested one has succeeded.
///
/// With a check-back handler it is stored at once: `send` before the effect that the message speaks of. The function's
/// handler is asked about it, too, with this message's payload.
///
/// ```
/// # use sqlx::SqlitePool;
/// # #[derive(serde::Serialize)] struct ItemSold<'a> { item: &'a str }
/// # type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// # async fn take_from_stock(tx: &mut sqlx::SqliteConnection, item: &str) -> Result<bool, BoxError> { Ok(true) }
/// use transactional_message::{Message, begin, send, transactional_message};
///
/// #[transactional_message(fence)]
/// async fn sell(db: &SqlitePool, items: &[String]) -> Result<(), BoxError> {
///     let mut tx = begin(db).await?;
///     for item in items {
///         if take_from_stock(&mut tx, item).await? {
///             send(Message::json("stock", "item.sold", &ItemSold { item })?).await?;
///         }
///     }
///     tx.commit().await?;
///     Ok(())
/// }
/// ```
///
/// # Errors
/// [`ErrorKind::InvalidMessage`] when it could never be stored or published; [`ErrorKind::Misuse`] outside a body, in a
/// fenced call without an open transaction, and where several handlers answer for the call's messages. Where it is stored
/// at once, [`ErrorKind::Unavailable`] and [`ErrorKind::Schema`] as well: then don't do what it speaks of, and return the
/// error. It may have been stored all the same, and would be sent with the rest if the call took effect.
///
/// # Cancel safety
/// Dropped before it has returned, the message is not sent; where it is stored at once, the same holds as for an error.
pub async fn send(message: Message) -> Result<MessageId, Error> {
    Ok(send_all([message]).await?[0])
}

/// The same for many messages, all or none of them: for an import, whose lines belong to one transaction. Where messages are
/// stored at once, these are stored together. Returns their ids, in the same order.
///
/// ```
/// # use sqlx::SqlitePool;
/// # #[derive(serde::Serialize)] struct Booked<'a> { line: &'a str }
/// # type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// # async fn book(tx: &mut sqlx::SqliteConnection, lines: &[String]) -> Result<(), BoxError> { Ok(()) }
/// use transactional_message::{Error, Message, begin, send_all, transactional_message};
///
/// /// A thousand lines at a time.
/// #[transactional_message(fence)]
/// async fn import(db: &SqlitePool, lines: &[String]) -> Result<(), BoxError> {
///     let mut tx = begin(db).await?;
///     book(&mut tx, lines).await?;
///     let booked = lines.iter().map(|line| Message::json("books", "line.booked", &Booked { line }));
///     send_all(booked.collect::<Result<Vec<_>, Error>>()?).await?;
///     tx.commit().await?;
///     Ok(())
/// }
/// ```
///
/// # Errors
/// As [`send`], about any of them. Then none is sent, but for those that were stored at once, as said there.
///
/// # Cancel safety
/// As [`send`].
pub async fn send_all(messages: impl IntoIterator<Item = Message>) -> Result<Vec<MessageId>, Error> {
    let running = running::current()?;
    running.refuse_late()?;
    let messages: Vec<_> = messages.into_iter().collect();
    if running.stores_at_once() { running.store(messages).await } else { running.stage(messages) }
}

impl Running {
    /// Errs where no transaction is open that the message could belong to.
    fn refuse_late(&self) -> Result<(), Error> {
        let body = self.scope().body();
        if self.scope().resolver == Resolver::Handler || (body.open.is_some() && body.commit == Commit::Not) {
            return Ok(());
        }
        Err(misuse(format!(
            "`send` was called in `{}` without an open fenced transaction, which its message would belong to: call it \
             between `begin` and `commit`",
            self.scope().function
        )))
    }

    /// Takes messages along with the open transaction.
    pub(super) fn stage(&self, messages: impl IntoIterator<Item = Message>) -> Result<Vec<MessageId>, Error> {
        let scope = self.deciding();
        let halves = self.halves(&scope, messages)?;
        let ids = halves.iter().map(|half| half.id).collect();
        let mut decided = self.decided();
        if !self.is_open(&decided, &scope) {
            return Err(self.too_late());
        }
        decided.staged.extend(halves);
        Ok(ids)
    }

    fn stores_at_once(&self) -> bool {
        self.scope().resolver == Resolver::Handler || self.decided().at_once
    }

    async fn store(&self, messages: Vec<Message>) -> Result<Vec<MessageId>, Error> {
        if self.is_in_the_stores_file() {
            return Err(misuse(format!(
                "`send` was called in `{}` after `enter_sql`, on SQLite and with the message store in the same file: that has \
                 one writer, which is the transaction; use `begin` or `enter`, or give the store a file of its own",
                self.scope().function
            )));
        }
        let scope = self.deciding();
        let halves = self.halves(&scope, messages)?;
        let ids = halves.iter().map(|half| half.id).collect();
        if halves.is_empty() {
            return Ok(ids);
        }
        let alive = self.calls.admission.another();
        let problem = |function: &str| format!("a message that `{function}` sends could not be stored");
        let live = self.live(Arc::clone(&scope), halves);
        let mut ticket = store(self.calls.clone(), live, alive, problem).await.map_err(Error::in_body)?;
        let mut decided = self.decided();
        // Its transaction may have ended meanwhile: then the ticket cancels it.
        if !self.is_open(&decided, &scope) {
            return Err(self.too_late());
        }
        ticket.body_starts();
        match &mut decided.stored {
            Some(stored) => stored.absorb(ticket),
            none => *none = Some(ticket),
        }
        Ok(ids)
    }

    fn too_late(&self) -> Error {
        misuse(format!(
            "`send` came while the transaction of `{}` was being committed, or had ended: what it sends would be lost",
            self.scope().function
        ))
    }

    fn halves(
        &self,
        scope: &CallScope,
        messages: impl IntoIterator<Item = Message>,
    ) -> Result<Vec<Arc<Half>>, Error> {
        let messages: Vec<_> = messages.into_iter().collect();
        for message in &messages {
            check(&self.calls, &scope.function, message).map_err(Error::in_body)?;
        }
        let half = |message| decided_half(&self.calls, &self.call, scope, self.next_id(scope), message);
        messages.into_iter().map(half).collect()
    }
}
