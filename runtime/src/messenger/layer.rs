//! A layer of tower: while a request is handled, its messenger is in scope.

use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::Messenger;
use super::in_scope::{InScope, WithMessenger};

/// Handles requests in a messenger's scope. Made by [`Messenger::layer`].
#[derive(Clone, Debug)]
pub struct ScopeLayer(Messenger);

/// A service whose requests are handled in a messenger's scope. Made by [`ScopeLayer`].
#[derive(Clone, Debug)]
pub struct Scoped<S> {
    inner: S,
    messenger: Messenger,
}

impl Messenger {
    /// A layer of [tower](https://docs.rs/tower), for a router of axum, a server of tonic, or any other service: annotated
    /// functions that are called while a request is handled use this messenger.
    ///
    /// ```
    /// # use transactional_message::Messenger;
    /// # async fn pay() -> &'static str { "paid" }
    /// # fn f(messenger: &Messenger) -> axum::Router {
    /// use axum::Router;
    /// use axum::routing::post;
    ///
    /// Router::new().route("/payments", post(pay)).layer(messenger.layer())
    /// # }
    /// ```
    ///
    /// What a handler spawns is outside, unless it does so by [`spawn`](crate::spawn). A client that hangs up drops its request:
    /// what becomes of a call then is the same as with any caller that leaves.
    pub fn layer(&self) -> ScopeLayer {
        ScopeLayer(self.clone())
    }
}

impl<S> Layer<S> for ScopeLayer {
    type Service = Scoped<S>;

    fn layer(&self, inner: S) -> Scoped<S> {
        Scoped { inner, messenger: self.0.clone() }
    }
}

impl<S, R> Service<R> for Scoped<S>
where
    S: Service<R, Future: Send + 'static>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = InScope<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.inner.call(request).with_messenger(&self.messenger)
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::call::calls::in_scope;

    /// Says whether a messenger is in scope while a request is handled.
    #[derive(Clone)]
    struct Asks;

    impl Service<()> for Asks {
        type Response = bool;
        type Error = ();
        type Future = futures_util::future::BoxFuture<'static, Result<bool, ()>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            Box::pin(async {
                tokio::task::yield_now().await;
                Ok(in_scope().is_some())
            })
        }
    }

    #[tokio::test]
    async fn requests_are_handled_in_scope() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = format!("sqlite://{}", directory.path().join("messages.db").display());
        let messenger = Messenger::builder(store).build().await.expect("builds");
        let mut service = messenger.layer().layer(Asks);
        assert_eq!((Asks.call(()).await, service.call(()).await), (Ok(false), Ok(true)));
    }
}
