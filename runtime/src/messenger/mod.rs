//! The messenger: the application's handle. It stores, reports, and owns the workers.

mod builder;
pub(crate) mod counts;
mod lifecycle;
mod operator;
pub(crate) mod service;
pub(crate) mod settings;

use std::sync::{Arc, OnceLock};

pub use builder::MessengerBuilder;
pub(crate) use lifecycle::Parts;
use tokio::sync::Mutex;

use crate::core::Core;
use crate::database::DatabaseSource;
use crate::error::{Error, ErrorKind, FromHalfError};
use crate::message::Message;
use crate::protocol::call::{AnsweredBy, Call, HandlerName};

tokio::task_local! {
    static IN_SCOPE: Messenger;
}
static GLOBAL: OnceLock<Messenger> = OnceLock::new();

/// Stores half messages, reports outcomes, asks for those that are missing, and delivers.
///
/// A cheap handle: clones share everything. It works in the runtime in which it was started, and takes no more calls when
/// that has ended. When the last handle and the last call are gone without [`shutdown`](Self::shutdown), it stops its
/// workers; nothing is lost, but what they can't finish waits for another process. See the [crate's documentation](crate) for a whole
/// program.
#[derive(Clone, Debug)]
pub struct Messenger {
    core: Arc<Core>,
    parts: Arc<Mutex<Parts>>,
}

impl Messenger {
    /// Begins to put a messenger together. `store` is where messages are kept: a URL such as
    /// `sqlite://shop.db`, or a pool, whose options are taken over.
    pub fn builder(store: impl Into<DatabaseSource>) -> MessengerBuilder {
        MessengerBuilder::new(store.into())
    }

    /// Makes this the messenger of every annotated function that is given no other.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when there is one already.
    pub fn install_global(&self) -> Result<(), Error> {
        GLOBAL.set(self.clone()).map_err(|_| {
            Error::new(
                ErrorKind::Configuration,
                "a global messenger is installed already: a process has one; use `Messenger::scope` for others",
            )
        })
    }

    /// Runs `future` with this messenger for the annotated functions in it: what makes parallel
    /// tests possible. Tasks that it spawns are outside the scope.
    pub async fn scope<F: Future>(&self, future: F) -> F::Output {
        IN_SCOPE.scope(self.clone(), future).await
    }

    /// The messenger in scope, or the global one.
    pub(crate) fn current() -> Result<Self, Error> {
        IN_SCOPE.try_with(Self::clone).ok().or_else(|| GLOBAL.get().cloned()).ok_or_else(|| {
            Error::new(
                ErrorKind::NoMessenger,
                "no messenger is installed: call `Messenger::install_global` at start, or run the call inside \
                 `messenger.scope(..)`",
            )
        })
    }

    /// What an annotated function does, without the attribute, and for any number of messages,
    /// also none: stores them as half messages, runs `body`, and reports how it ended.
    ///
    /// # Errors
    /// The body's own, or the error that kept it from running
    /// ([`Error::body_ran`](crate::Error::body_ran) is `false`).
    ///
    /// # Cancel safety
    /// A dropped call is settled by check-back.
    pub async fn call<T, E, F>(
        &self,
        answered_by: AnsweredBy,
        messages: impl IntoIterator<Item = Message, IntoIter: Send>,
        body: F,
    ) -> Result<T, E>
    where
        T: Send,
        E: FromHalfError + Send,
        F: Future<Output = Result<T, E>> + Send,
    {
        self.call_or(answered_by, messages, E::from_half_error, body).await
    }

    /// [`call`](Self::call), for an error type of another crate, which can't implement
    /// `From<transactional_message::Error>`: `convert` makes the error that kept the body from running.
    ///
    /// ```
    /// # use transactional_message::{AnsweredBy, Error, Message, Messenger};
    /// # async fn post(messenger: &Messenger, message: Message) -> Result<(), (u16, String)> {
    /// let unavailable = |error: Error| (503, error.to_string());
    /// messenger.call_or(AnsweredBy::Fence, [message], unavailable, async { Ok(()) }).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// The body's own, or what `convert` made.
    ///
    /// # Cancel safety
    /// A dropped call is settled by check-back.
    pub async fn call_or<T, E, F>(
        &self,
        answered_by: AnsweredBy,
        messages: impl IntoIterator<Item = Message, IntoIter: Send>,
        convert: impl FnOnce(Error) -> E + Send,
        body: F,
    ) -> Result<T, E>
    where
        T: Send,
        E: Send,
        F: Future<Output = Result<T, E>> + Send,
    {
        let handler = match &answered_by {
            AnsweredBy::Handler(name) => Some(HandlerName { name: name.clone(), package: None }),
            AnsweredBy::Fence | AnsweredBy::NamedFence(_) => None,
        };
        let mut call = Call::new("Messenger::call".to_owned()).messenger(self);
        call.answer(answered_by);
        call.add(messages.into_iter().map(|message| (message, handler.clone())));
        crate::protocol::run_or(call, body, convert).await
    }

    pub(crate) const fn core(&self) -> &Arc<Core> {
        &self.core
    }
}
