//! The messenger of the annotated functions in a future, or in a task.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;

use super::Messenger;
use crate::call::calls;

/// Gives a future a messenger: annotated functions in it use that one. For middleware, which has a request's future in its
/// hands. (As `tracing`'s `Instrument` does with a span.)
///
/// ```
/// # use transactional_message::{Messenger, WithMessenger};
/// # async fn handle(messenger: Messenger, request: impl Future<Output = u16> + Send + 'static) -> u16 {
/// request.with_messenger(&messenger).await
/// # }
/// ```
pub trait WithMessenger: Future + Send + Sized {
    /// The same future, in the messenger's [`scope`](Messenger::scope).
    fn with_messenger<'f>(self, messenger: &Messenger) -> InScope<'f, Self::Output>
    where
        Self: 'f,
    {
        let messenger = messenger.clone();
        InScope(Box::pin(async move { messenger.scope(self).await }))
    }
}

impl<F: Future + Send> WithMessenger for F {}

/// A future that has a messenger. Made by [`WithMessenger::with_messenger`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct InScope<'f, T>(BoxFuture<'f, T>);

impl<T> Future for InScope<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.0.as_mut().poll(context)
    }
}

impl<T> std::fmt::Debug for InScope<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InScope").finish_non_exhaustive()
    }
}

/// `tokio::spawn`, with the messenger that is in scope here. The task is no part of a call that spawns it: it has calls of
/// its own.
///
/// # Panics
/// Outside of a tokio runtime.
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    match calls::in_scope() {
        Some(calls) => tokio::spawn(async move { calls.scope(future).await }),
        None => tokio::spawn(future),
    }
}
