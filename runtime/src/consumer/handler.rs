//! The consumer's handler: what it takes, and what it is.

use std::fmt::Display;

use crate::check_back::{Decode, RawPayload};
use crate::message::{Message, MessageId};

/// A message as a consumer's handler gets it. `T` is the type of its payload; without it, the
/// payload is [`RawPayload`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Received<T = RawPayload> {
    /// The message's id: the same at every delivery.
    pub id: MessageId,
    /// Where it was sent.
    pub exchange: String,
    /// Where it was sent.
    pub routing_key: String,
    /// The stable name of the payload's format.
    pub message_type: Option<String>,
    /// The business key.
    pub business_key: Option<String>,
    /// The sender's headers.
    pub headers: Vec<(String, String)>,
    /// Which delivery this is, from 1.
    pub attempt: u32,
    /// The decoded payload.
    pub payload: T,
}

impl<T: Decode> Received<T> {
    pub(crate) fn decode(id: MessageId, message: Message, attempt: u32) -> Result<Self, String> {
        Ok(Self {
            id,
            payload: T::decode(&message.payload)?,
            exchange: message.exchange,
            routing_key: message.routing_key,
            message_type: message.message_type,
            business_key: message.business_key,
            headers: message.headers,
            attempt,
        })
    }
}

/// A consumer's handler: `async fn(&mut Connection, Received<M>) -> Result<(), E>`.
///
/// All its writes go through the connection that it is given; its `Ok` is followed by the commit.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a consumer's handler for `{M}` messages",
    label = "expected `async fn(&mut Connection, Received<{M}>) -> Result<(), E>`",
    note = "the connection is that of the consumer's pool: `&mut SqliteConnection` for a `SqlitePool`"
)]
pub trait Consume<'c, C: 'c, M>: Send + Sync {
    /// Why it failed.
    type Error: Display;
    /// The handler's future.
    type Future: Future<Output = Result<(), Self::Error>> + Send + 'c;

    /// Handles one message.
    fn consume(&self, connection: &'c mut C, message: Received<M>) -> Self::Future;
}

impl<'c, C, M, F, Fut, E> Consume<'c, C, M> for F
where
    C: 'c,
    F: Fn(&'c mut C, Received<M>) -> Fut + Send + Sync,
    Fut: Future<Output = Result<(), E>> + Send + 'c,
    E: Display,
{
    type Error = E;
    type Future = Fut;

    fn consume(&self, connection: &'c mut C, message: Received<M>) -> Fut {
        self(connection, message)
    }
}
