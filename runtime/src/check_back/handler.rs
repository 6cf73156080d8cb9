//! The check-back handler: an async function, erased to something that a registry can hold.

use std::any::TypeId;
use std::fmt::{self, Display};
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::arguments::{DataMap, Decode, FromAsked};
use super::{HalfMessage, Outcome};
use crate::message::Payload;
use crate::store::Stored;

/// A question on its way to a handler.
#[derive(Clone, Debug)]
pub struct Asked {
    pub(crate) row: Arc<Stored>,
    pub(crate) data: DataMap,
}

impl Asked {
    fn half<M: Decode>(&self) -> Result<HalfMessage<M>, String> {
        let half = &self.row.half;
        Ok(HalfMessage {
            id: half.id,
            call_id: half.call_id,
            key: half.message.key.clone(),
            age: self.row.age,
            attempt: self.row.attempts,
            payload: M::decode(&half.message.payload)
                .map_err(|why| format!("the payload is not what the handler takes: {why}"))?,
        })
    }
}

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
    message = "`{Self}` is not a check-back handler for a `{M}` message",
    label = "expected `async fn(HalfMessage<{M}>, Data<..>, ..) -> Result<Outcome, E>`",
    note = "the payload type of the handler must be the type of `message`"
)]
pub trait Handler<M, A>: Copy + Send + Sync + 'static {
    #[doc(hidden)]
    fn needs() -> Vec<(TypeId, &'static str)>;
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
            $($argument: FromAsked,)*
        {
            fn needs() -> Vec<(TypeId, &'static str)> {
                vec![$($argument::need()),*]
            }

            fn ask(self, asked: Asked) -> BoxFuture<'static, Result<Outcome, String>> {
                Box::pin(async move {
                    self(asked.half()?, $($argument::from_asked(&asked)?),*).await.into_outcome()
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
    pub(crate) needs: fn() -> Vec<(TypeId, &'static str)>,
    pub(crate) ask: Arc<dyn Fn(Asked) -> BoxFuture<'static, Result<Outcome, String>> + Send + Sync>,
}

impl fmt::Debug for CheckBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckBack").finish_non_exhaustive()
    }
}

/// Erases a handler's type.
pub fn handler<M, A, H: Handler<M, A>>(handler: H) -> CheckBack {
    CheckBack { needs: H::needs, ask: Arc::new(move |asked| handler.ask(asked)) }
}

/// Passes `message` through, if it is of the type that `handler` takes.
pub const fn handled_by<M: Payload, A, H: Handler<M, A>>(_handler: H, message: &M) -> &M {
    message
}
