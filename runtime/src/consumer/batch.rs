//! Handlers of several messages at once, and what both kinds of handlers are to the inbox.

use std::error::Error;
use std::marker::PhantomData;

use super::handler::{Consume, Received, taken};
use crate::check_back::{Extract, Need};

/// A consumer's handler of several messages:
/// `async fn(&mut Connection, Vec<Received<M>>, Data<A>, …) -> Result<(), E>`. See [`Consumer::batch`](crate::Consumer::batch).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a consumer's handler for batches of `{M}` messages",
    label = "expected `async fn(&mut Connection, Vec<Received<{M}>>, Data<A>, ..) -> Result<(), E>`",
    note = "the connection is that of the consumer's pool: `&mut SqliteConnection` for a `SqlitePool`; every `A` is `Clone + Send + Sync`; \
            `E` is an error, or text"
)]
pub trait ConsumeBatch<'c, C: 'c, M, A = ()>: Send + Sync {
    /// Why it failed.
    type Error: Into<Box<dyn Error + Send + Sync>>;
    /// The handler's future.
    type Future: Future<Output = Result<(), Self::Error>> + Send + 'c;

    #[doc(hidden)]
    fn needs() -> Vec<Need> {
        Vec::new()
    }

    /// Handles messages: one at least.
    fn consume(&self, connection: &'c mut C, messages: Vec<Received<M>>) -> Self::Future;
}

macro_rules! consume_batch {
    ($($argument:ident),*) => {
        impl<'c, C, M, F, Fut, E, $($argument),*> ConsumeBatch<'c, C, M, ($($argument,)*)> for F
        where
            C: 'c,
            F: Fn(&'c mut C, Vec<Received<M>>, $($argument),*) -> Fut + Send + Sync,
            Fut: Future<Output = Result<(), E>> + Send + 'c,
            E: Into<Box<dyn Error + Send + Sync>>,
            $($argument: Extract,)*
        {
            type Error = E;
            type Future = Fut;

            fn needs() -> Vec<Need> {
                vec![$($argument::need()),*]
            }

            fn consume(&self, connection: &'c mut C, messages: Vec<Received<M>>) -> Fut {
                let data = messages.first().map(|message| message.data.clone()).unwrap_or_default();
                let _ = &data;
                self(connection, messages, $(taken::<$argument>(&data)),*)
            }
        }
    };
}

consume_batch!();
consume_batch!(A1);
consume_batch!(A1, A2);
consume_batch!(A1, A2, A3);
consume_batch!(A1, A2, A3, A4);
consume_batch!(A1, A2, A3, A4, A5);

/// A handler, as the inbox calls it.
pub(super) trait Handle<'c, C: 'c, M>: Send + Sync {
    type Error: Into<Box<dyn Error + Send + Sync>>;
    type Future: Future<Output = Result<(), Self::Error>> + Send + 'c;

    fn needs() -> Vec<Need>;
    fn handle(&self, connection: &'c mut C, messages: Vec<Received<M>>) -> Self::Future;
}

/// Of one message at a time.
pub(super) struct OneByOne<H, A>(H, PhantomData<fn() -> A>);

/// Of many.
pub(super) struct Together<H, A>(H, PhantomData<fn() -> A>);

impl<H, A> OneByOne<H, A> {
    pub(super) const fn new(handler: H) -> Self {
        Self(handler, PhantomData)
    }
}

impl<H, A> Together<H, A> {
    pub(super) const fn new(handler: H) -> Self {
        Self(handler, PhantomData)
    }
}

impl<'c, C: 'c, M, A, H: Consume<'c, C, M, A>> Handle<'c, C, M> for OneByOne<H, A> {
    type Error = H::Error;
    type Future = H::Future;

    fn needs() -> Vec<Need> {
        H::needs()
    }

    fn handle(&self, connection: &'c mut C, mut messages: Vec<Received<M>>) -> H::Future {
        let message = messages.pop().unwrap_or_else(|| unreachable!("there is one message"));
        self.0.consume(connection, message)
    }
}

impl<'c, C: 'c, M, A, H: ConsumeBatch<'c, C, M, A>> Handle<'c, C, M> for Together<H, A> {
    type Error = H::Error;
    type Future = H::Future;

    fn needs() -> Vec<Need> {
        H::needs()
    }

    fn handle(&self, connection: &'c mut C, messages: Vec<Received<M>>) -> H::Future {
        self.0.consume(connection, messages)
    }
}
