//! The check-back handler: an async function, erased to something that a registry can hold.

use std::borrow::Borrow;
use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::arguments::{Asked, Decode, Extract, HalfMessage, Need, RawPayload};
use crate::message::Outcome;

/// What a handler may answer: [`Outcome`], or a `Result` of it. An error is
/// [`Outcome::Unknown`], with its text as the reason.
#[diagnostic::on_unimplemented(
    message = "a check-back handler answers `Outcome` or `Result<Outcome, E>`, not `{Self}`",
    label = "not an answer",
    note = "return `transactional_message::Outcome`, or `Result<Outcome, E>` with `E: Display`"
)]
pub trait Answer {
    #[doc(hidden)]
    fn into_outcome(self) -> Result<Outcome, String>;
}

impl Answer for Outcome {
    fn into_outcome(self) -> Result<Outcome, String> {
        Ok(self)
    }
}

impl<E: Display> Answer for Result<Outcome, E> {
    fn into_outcome(self) -> Result<Outcome, String> {
        self.map_err(|error| error.to_string())
    }
}

/// An async function that answers check-backs for messages with payload `M`:
/// `async fn(HalfMessage<M>, Data<A>, …) -> Outcome` or `-> Result<Outcome, E>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a check-back handler",
    label = "expected `async fn(HalfMessage<T>, Data<A>, ..) -> Outcome`, or `-> Result<Outcome, E>`",
    note = "`T` is the type of the message and implements `serde::Deserialize`, every `A` is `Clone + Send + Sync`, \
            `E` implements `Display`, and the future is `Send`"
)]
pub trait Handler<M, A>: Copy + Send + Sync + 'static {
    #[doc(hidden)]
    fn needs() -> Vec<Need>;
    #[doc(hidden)]
    fn ask(self, asked: Asked) -> BoxFuture<'static, Result<Outcome, String>>;
}

macro_rules! handler {
    ($($argument:ident),*) => {
        impl<F, Fut, M, $($argument),*> Handler<M, (HalfMessage<M>, $($argument),*)> for F
        where
            F: Fn(HalfMessage<M>, $($argument),*) -> Fut + Copy + Send + Sync + 'static,
            Fut: Future<Output: Answer> + Send,
            M: Decode + Send,
            $($argument: Extract,)*
        {
            fn needs() -> Vec<Need> {
                vec![$($argument::need()),*]
            }

            fn ask(self, asked: Asked) -> BoxFuture<'static, Result<Outcome, String>> {
                Box::pin(async move {
                    self(asked.half()?, $($argument::extract(&asked.data)?),*).await.into_outcome()
                })
            }
        }
    };
}

handler!();
handler!(A);
handler!(A, B);
handler!(A, B, C);
handler!(A, B, C, D);
handler!(A, B, C, D, E);

/// A handler without its type.
#[derive(Clone)]
pub struct CheckBack {
    pub(crate) needs: fn() -> Vec<Need>,
    pub(crate) ask: Arc<dyn Fn(Asked) -> BoxFuture<'static, Result<Outcome, String>> + Send + Sync>,
}

impl fmt::Debug for CheckBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckBack").finish_non_exhaustive()
    }
}

/// A handler that still knows the type of its payload.
///
/// Generated code names a handler twice, for the message and for the registry. Both begin here, since the
/// compiler drops an error that is equal to an earlier one: a wrong handler is reported once.
pub struct TypedHandler<M> {
    needs: fn() -> Vec<Need>,
    /// No allocation for a function's name, which has no size; that matters, as every call makes one.
    ask: Box<dyn Fn(Asked) -> BoxFuture<'static, Result<Outcome, String>> + Send + Sync>,
    payload: PhantomData<fn(M)>,
}

impl<M> fmt::Debug for TypedHandler<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedHandler").finish_non_exhaustive()
    }
}

/// What a check-back handler may take of a message with a `content_type`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is read from JSON, and a message with `content_type` is bytes",
    label = "this handler takes a payload that is read from JSON",
    note = "take `HalfMessage`, whose payload is `RawPayload`, and decode the bytes there"
)]
pub trait TakenAsBytes {}

impl TakenAsBytes for RawPayload {}

/// Takes a handler.
pub fn handler<M, A, H: Handler<M, A>>(handler: H) -> TypedHandler<M> {
    TypedHandler { needs: H::needs, ask: Box::new(move |asked| handler.ask(asked)), payload: PhantomData }
}

impl<M> TypedHandler<M> {
    /// Passes `message` through, if it is of the type that the handler takes.
    pub const fn message<'m>(&self, message: &'m M) -> &'m M {
        message
    }

    /// Passes an iterator through, if its items are of that type, or references to it.
    pub const fn messages<I: IntoIterator<Item: Borrow<M>>>(&self, messages: I) -> I {
        messages
    }

    /// Passes the bytes of a body through, if the handler takes bytes.
    pub fn bytes<B: Into<Vec<u8>>>(&self, body: B) -> B
    where
        M: TakenAsBytes,
    {
        body
    }

    /// Forgets the type.
    pub fn erase(self) -> CheckBack {
        CheckBack { needs: self.needs, ask: Arc::from(self.ask) }
    }
}
