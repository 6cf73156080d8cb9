//! Annotated functions whose body each test brings along.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use transactional_message::transactional_message;

use crate::ask;

/// The payload of all messages here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Names the call in a test.
    pub id: u64,
    /// Whatever else a test wants to say.
    pub note: String,
}

/// An order without a note.
pub fn order(id: u64) -> Order {
    Order { id, note: String::new() }
}

/// The error type of an application.
#[derive(Debug, thiserror::Error)]
pub enum ShopError {
    /// Business says no.
    #[error("declined")]
    Declined,
    /// The business database fails.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The message can't be stored, or the fence can't be kept.
    #[error(transparent)]
    Message(#[from] transactional_message::Error),
}

impl ShopError {
    /// The error of this crate that it carries.
    #[track_caller]
    pub fn message(self) -> transactional_message::Error {
        match self {
            Self::Message(error) => error,
            other => panic!("not an error of transactional-message: {other}"),
        }
    }
}

type Answer<T> = Result<T, ShopError>;

/// A fenced function, on the messenger's only fence.
#[transactional_message(exchange = "shop", routing_key = "order.fenced", business_key = order.id, fence, message = order)]
pub async fn fenced<T: Send>(order: &Order, body: impl Future<Output = Answer<T>> + Send) -> Answer<T> {
    body.await
}

/// A fenced function on the fence named `orders`, with everything that a message can have.
#[transactional_message(exchange = "shop", routing_key = format!("order.{}", order.id), business_key = order.id,
                        headers = [("tenant", order.note.as_str())], type = "order.v1",
                        fence = "orders", message = order)]
pub async fn fenced_amendable<T: Send>(
    order: &Order,
    body: impl Future<Output = Answer<T>> + Send,
) -> Answer<T> {
    body.await
}

/// A fenced function with two messages.
#[transactional_message(exchange = "shop", routing_key = "order.first", fence, message = order)]
#[transactional_message(exchange = "shop", routing_key = "order.second", message = order, fence)]
pub async fn fenced_twice<T: Send>(order: &Order, body: impl Future<Output = Answer<T>> + Send) -> Answer<T> {
    body.await
}

/// A function with a check-back handler.
#[transactional_message(exchange = "shop", routing_key = "order.handled", business_key = order.id, name = "it.handled",
                        check_back = ask, message = order)]
pub async fn handled<T: Send>(order: &Order, body: impl Future<Output = Answer<T>> + Send) -> Answer<T> {
    body.await
}

/// The same, where an error can hide a success.
#[transactional_message(exchange = "shop", routing_key = "order.handled", name = "it.handled.asking",
                        check_back = ask, on_err = ask, message = order)]
pub async fn handled_asking<T: Send>(
    order: &Order,
    body: impl Future<Output = Answer<T>> + Send,
) -> Answer<T> {
    body.await
}

/// The same, asked later than the settings say.
#[transactional_message(exchange = "shop", routing_key = "order.handled", name = "it.handled.late",
                        check_back = ask, check_after = after, message = order)]
pub async fn handled_late<T: Send>(
    order: &Order,
    after: Duration,
    body: impl Future<Output = Answer<T>> + Send,
) -> Answer<T> {
    body.await
}

/// A function with two messages and a handler for each.
#[transactional_message(exchange = "shop", routing_key = "order.first", name = "it.handled.first",
                        check_back = ask, message = order)]
#[transactional_message(exchange = "shop", routing_key = "order.second", name = "it.handled.second",
                        check_back = ask, message = order)]
pub async fn handled_twice<T: Send>(
    order: &Order,
    body: impl Future<Output = Answer<T>> + Send,
) -> Answer<T> {
    body.await
}

/// A fenced function whose message waits.
#[transactional_message(exchange = "shop", routing_key = "order.delayed", fence, message = order, delay = delay)]
pub async fn fenced_delayed<T: Send>(
    order: &Order,
    delay: Duration,
    body: impl Future<Output = Answer<T>> + Send,
) -> Answer<T> {
    body.await
}

/// The same with a handler, and a time.
#[transactional_message(exchange = "shop", routing_key = "order.delayed", name = "it.handled.delayed", check_back = ask,
                        message = order, deliver_at = time)]
pub async fn handled_delayed<T: Send>(
    order: &Order,
    time: SystemTime,
    body: impl Future<Output = Answer<T>> + Send,
) -> Answer<T> {
    body.await
}

/// A fenced function whose message expires.
#[transactional_message(exchange = "shop", routing_key = "order.expiring", fence, message = order, expires_in = time,
                        priority = 5)]
pub async fn fenced_expiring<T: Send>(
    order: &Order,
    time: Duration,
    body: impl Future<Output = Answer<T>> + Send,
) -> Answer<T> {
    body.await
}

/// A fenced function whose message is in a format of its own.
#[transactional_message(exchange = "shop", routing_key = "order.bytes", fence, content_type = "application/octet-stream",
                        message = bytes)]
pub async fn fenced_bytes<T: Send>(
    bytes: Vec<u8>,
    body: impl Future<Output = Answer<T>> + Send,
) -> Answer<T> {
    body.await
}
