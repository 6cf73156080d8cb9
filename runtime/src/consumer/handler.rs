//! The consumer's handler: what it takes, and what it is.

use std::error::Error;

use crate::check_back::{DataMap, Decode, Extract, Need, RawPayload};
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
    /// The application's, for what the handler takes besides.
    pub(super) data: DataMap,
}

impl<T: Decode> Received<T> {
    pub(super) fn decode(
        id: MessageId,
        message: Message,
        attempt: u32,
        data: &DataMap,
    ) -> Result<Self, String> {
        Ok(Self {
            data: data.clone(),
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

impl<T> Received<T> {
    /// A message that came from nowhere, with nothing but a payload.
    #[cfg(feature = "testing")]
    pub(crate) fn of(payload: T) -> Self {
        Self {
            id: MessageId::new(),
            exchange: String::new(),
            routing_key: String::new(),
            message_type: None,
            business_key: None,
            headers: Vec::new(),
            attempt: 1,
            payload,
            data: DataMap::default(),
        }
    }
}

/// A consumer's handler: `async fn(&mut Connection, Received<M>, Data<A>, …) -> Result<(), E>`.
///
/// All its writes go through the connection that it is given; its `Ok` is followed by the commit. `E` is any
/// `std::error::Error`, a boxed one, or text. [`Reject`](crate::Reject) and [`RetryAfter`](crate::RetryAfter), by themselves or as
/// the source of another error, say what becomes of the message; after any other error it is tried again.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a consumer's handler for `{M}` messages",
    label = "expected `async fn(&mut Connection, Received<{M}>, Data<A>, ..) -> Result<(), E>`",
    note = "the connection is that of the consumer's pool: `&mut SqliteConnection` for a `SqlitePool`; every `A` is `Clone + Send + Sync`; \
            `E` is an error, or text"
)]
pub trait Consume<'c, C: 'c, M, A = ()>: Send + Sync {
    /// Why it failed.
    type Error: Into<Box<dyn Error + Send + Sync>>;
    /// The handler's future.
    type Future: Future<Output = Result<(), Self::Error>> + Send + 'c;

    #[doc(hidden)]
    fn needs() -> Vec<Need> {
        Vec::new()
    }

    /// Handles one message.
    fn consume(&self, connection: &'c mut C, message: Received<M>) -> Self::Future;
}

/// What a handler takes besides. That it is there was made sure when the messenger was built.
pub(super) fn taken<A: Extract>(data: &DataMap) -> A {
    A::extract(data).unwrap_or_else(|what| panic!("the handler takes {what}"))
}

macro_rules! consume {
    ($($argument:ident),*) => {
        impl<'c, C, M, F, Fut, E, $($argument),*> Consume<'c, C, M, ($($argument,)*)> for F
        where
            C: 'c,
            F: Fn(&'c mut C, Received<M>, $($argument),*) -> Fut + Send + Sync,
            Fut: Future<Output = Result<(), E>> + Send + 'c,
            E: Into<Box<dyn Error + Send + Sync>>,
            $($argument: Extract,)*
        {
            type Error = E;
            type Future = Fut;

            fn needs() -> Vec<Need> {
                vec![$($argument::need()),*]
            }

            fn consume(&self, connection: &'c mut C, message: Received<M>) -> Fut {
                let data = message.data.clone();
                let _ = &data;
                self(connection, message, $(taken::<$argument>(&data)),*)
            }
        }
    };
}

consume!();
consume!(A1);
consume!(A1, A2);
consume!(A1, A2, A3);
consume!(A1, A2, A3, A4);
consume!(A1, A2, A3, A4, A5);
