//! The application's handle.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::admin::Admin;
#[cfg(feature = "_sql")]
use super::consumers::Consumers;
use super::counts::Counting;
use super::lifecycle::{self, Lifecycle};
use crate::call::calls::Calls;
#[cfg(feature = "testing")]
use crate::call::calls::ReplacedGlobal;
use crate::call::{Call, run_or};
#[cfg(feature = "testing")]
use crate::check_back::DataMap;
#[cfg(feature = "_sql")]
use crate::consumer::Consumer;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Error, FromHalfError};
#[cfg(feature = "testing")]
use crate::held::HeldStore;
use crate::store::{Stats, Unfinished};

/// Stores half messages, reports outcomes, asks for those that are missing, and delivers.
///
/// A cheap handle: clones share everything. It works in the runtime in which it was started, and takes no more calls when
/// that has ended. When the last handle and the last call are gone without [`shutdown`](Self::shutdown), it stops its
/// workers; nothing is lost, but what they can't finish waits for another process. See the [crate's documentation](crate) for a whole
/// program.
#[derive(Clone, Debug)]
pub struct Messenger {
    pub(super) calls: Calls,
    pub(super) lifecycle: Arc<Mutex<Lifecycle>>,
    pub(super) counting: Arc<Counting>,
    #[cfg(feature = "_sql")]
    pub(super) consumers: Arc<Consumers>,
}

impl Messenger {
    /// The store as this process holds it.
    #[cfg(feature = "testing")]
    pub(crate) fn held(&self) -> &HeldStore {
        &self.calls.held
    }

    /// The application's data.
    #[cfg(feature = "testing")]
    pub(crate) fn data(&self) -> &DataMap {
        &self.calls.handlers.data
    }

    /// What an operator can do about messages: look at them, decide, and see who decided.
    ///
    /// Works without [`start`](Self::start), too: a tool for operators need not run anything.
    pub fn admin(&self) -> Admin<'_> {
        Admin::of(&self.calls)
    }

    /// Makes this the messenger of every annotated function that is given no other.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when there is one already.
    pub fn install_global(&self) -> Result<(), Error> {
        self.calls.install_global()
    }

    /// Makes this the global messenger instead of the one that is there, if there is one, until the guard is dropped. For tests
    /// of a program that relies on the global one; they must run one at a time then. Where that can be had,
    /// [`scope`](Self::scope) is better.
    #[cfg(feature = "testing")]
    pub fn replace_global(&self) -> ReplacedGlobal {
        self.calls.replace_global()
    }

    /// Runs `future` with this messenger for the annotated functions in it: what makes parallel
    /// tests possible. Tasks that it spawns are outside the scope, unless it does so by [`spawn`](crate::spawn). For a future
    /// that somebody else awaits, see [`WithMessenger`](crate::WithMessenger).
    pub async fn scope<F: Future>(&self, future: F) -> F::Output {
        self.calls.scope(future).await
    }

    /// What an annotated function does, without the attribute: stores the messages of `call` as half messages, runs `body`,
    /// and reports how it ended. A call may have any number of messages, also none.
    ///
    /// # Errors
    /// The body's own, or the error that kept it from running
    /// ([`Error::body_ran`](crate::Error::body_ran) is `false`).
    ///
    /// # Cancel safety
    /// A dropped call is settled by check-back.
    pub async fn call<T, E, F>(&self, call: Call, body: F) -> Result<T, E>
    where
        T: Send,
        E: FromHalfError + Send,
        F: Future<Output = Result<T, E>> + Send,
    {
        self.call_or(call, E::from_half_error, body).await
    }

    /// [`call`](Self::call), for an error type of another crate, which can't implement
    /// `From<transactional_message::Error>`: `convert` makes the error that kept the body from running.
    ///
    /// ```
    /// # use transactional_message::{Call, Error, Message, Messenger};
    /// # async fn post(messenger: &Messenger, message: Message) -> Result<(), (u16, String)> {
    /// let unavailable = |error: Error| (503, error.to_string());
    /// let call = Call::new("post").fence().message(message);
    /// messenger.call_or(call, unavailable, async { Ok(()) }).await
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
        call: Call,
        convert: impl FnOnce(Error) -> E + Send,
        body: F,
    ) -> Result<T, E>
    where
        T: Send,
        E: Send,
        F: Future<Output = Result<T, E>> + Send,
    {
        run_or(call.messenger(self), body, convert).await
    }

    /// Counts by state, and the age of the oldest unfinished message. Counts every row that is kept, which takes
    /// seconds when there are millions: see [`unfinished`](Self::unfinished) for what is worth an alert. Who asks while
    /// a count is under way gets the result of that one.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable), also when the count takes more than five seconds.
    ///
    /// # Cancel safety
    /// Cancel safe; a count that was begun goes on, for at most five seconds.
    pub async fn stats(&self) -> Result<Stats, Error> {
        let stats = self.counting.join(self.calls.held.store()).await;
        stats.map_err(|cause| cause.into_error("the messages could not be counted"))
    }

    /// Counts what is not delivered or cancelled, and what waits for an operator; and the age of the oldest message on
    /// its way. Reads no other rows, so that it costs the same however many finished messages are kept.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable)
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn unfinished(&self) -> Result<Unfinished, Error> {
        let unfinished = self.calls.held.store().unfinished().await;
        unfinished.map_err(|cause| cause.into_error("the messages could not be counted"))
    }

    /// Creates or updates the tables: the message store's, the fences', the inboxes'. Safe to call
    /// at every start, by many processes at once.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]; [`ErrorKind::Schema`] when the tables are newer than this crate.
    ///
    /// # Cancel safety
    /// Dropped half-way, some tables are there and others are not; call it again.
    pub async fn migrate(&self) -> Result<(), Error> {
        let migrated = lifecycle::migrate(&self.calls, &self.lifecycle).await;
        migrated.map_err(|cause| cause.into_error("the tables could not be created or updated"))
    }

    /// Checks that the tables of the message store and of the fences are there, and of the version that this crate knows.
    /// [`start`](Self::start) does so, too; for a tool that starts nothing, and asks [`admin`](Self::admin) about fences.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] when they are missing or of another version; [`ErrorKind::Configuration`] when two fences are
    /// one database; [`ErrorKind::Unavailable`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn check_tables(&self) -> Result<(), Error> {
        let checked = self.calls.held.store().check_schema().await;
        checked.map_err(|cause| cause.into_error("the message store is not ready"))?;
        self.calls.fences.identify().await
    }

    /// Checks the tables, starts the workers, and lets calls in.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] when the tables are missing or of another version: call
    /// [`migrate`](Self::migrate). [`ErrorKind::Configuration`] when two fences are one database,
    /// or the messenger was started before. [`ErrorKind::Unavailable`].
    ///
    /// # Cancel safety
    /// Not cancel safe: a messenger whose start was dropped half-way runs no workers; build another.
    pub async fn start(&self) -> Result<(), Error> {
        lifecycle::start(&self.calls, &self.lifecycle).await
    }

    /// Adds a consumer, also to a messenger that runs: one of a tenant that has just come, say.
    ///
    /// In a messenger that runs it begins at once; with RabbitMQ, its queue is declared and bound as soon as the broker is there.
    /// The tables of its inbox must be there, which [`Consumer::migrate`] creates. Before the start, it is one of those that the
    /// messenger was built with: [`migrate`](Self::migrate) creates its tables, and [`start`](Self::start) looks at them.
    ///
    /// ```no_run
    /// # use sqlx::{PgConnection, PgPool};
    /// # use transactional_message::{Consumer, Error, Messenger, Received};
    /// # async fn book(_: &mut PgConnection, _: Received) -> Result<(), sqlx::Error> { Ok(()) }
    /// # async fn f(messenger: Messenger, tenant: &str, db: PgPool) -> Result<(), Error> {
    /// let accounting = Consumer::new(format!("accounting-{tenant}"), db, book).bind("orders", format!("{tenant}.paid"));
    /// accounting.migrate().await?;
    /// messenger.add_consumer(accounting).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] with the remedy in its text, also for a second consumer of a queue, and when the messenger is
    /// shut down; [`ErrorKind::Schema`] when the tables are missing or of another version; [`ErrorKind::Unavailable`].
    ///
    /// # Cancel safety
    /// Cancel safe: dropped, it has added nothing.
    #[cfg(feature = "_sql")]
    pub async fn add_consumer(&self, consumer: Consumer) -> Result<(), Error> {
        lifecycle::add_consumer(&self.calls, &self.lifecycle, &self.consumers, consumer).await
    }

    /// Changes how many messages, or batches of them, the consumer of `queue` handles at once:
    /// [`Consumer::concurrency`] of a messenger that runs. It holds for this messenger, until that ends.
    ///
    /// What is being handled goes on; what more was taken than is handled now waits its turn.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when there is no such consumer, or for 0.
    #[cfg(feature = "_sql")]
    pub fn set_concurrency(&self, queue: &str, at_once: usize) -> Result<(), Error> {
        self.consumers.set_concurrency(queue, at_once)
    }

    /// Shuts down: takes no new calls, waits for those under way, brings their reports to the
    /// store, and delivers what is in memory. What is not done within `patience` is left to others,
    /// and to the next start.
    ///
    /// Says whether everything was done in time; `false`, too, when the workers had ended before, as with the runtime in
    /// which the messenger was started. Afterwards [`admin`](Self::admin) and
    /// [`stats`](Self::stats) fail, too.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped half-way, it leaves workers behind that nobody waits for.
    pub async fn shutdown(&self, patience: Duration) -> bool {
        lifecycle::shutdown(&self.calls, &self.lifecycle, patience).await
    }
}

impl Call {
    /// `messenger = …`, in generated code: the messenger that runs the call.
    #[doc(hidden)]
    pub fn messenger(self, messenger: &Messenger) -> Self {
        self.run_by(&messenger.calls)
    }
}
