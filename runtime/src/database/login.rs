//! The way into a database server, asked for before every connection: passwords change while we run.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sqlx::error::DatabaseError;
use sqlx::pool::PoolConnection;
use sqlx::{ConnectOptions, Connection, Database, Pool};
use tokio::time::timeout;

use crate::store::StoreError;

/// How long an operation may take, connecting included.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

pub(super) type Options<DB> = <<DB as Database>::Connection as Connection>::Options;
type Ask<DB> = dyn Fn() -> BoxFuture<'static, Result<Options<DB>, sqlx::Error>> + Send + Sync;

/// How to connect, now.
pub(crate) struct Login<DB: Database> {
    ask: Arc<Ask<DB>>,
    /// The application's pool, if it gave us one.
    pool: Option<Pool<DB>>,
    /// Since when the server has refused the login. The pools of one database share it, so that it is logged once.
    refused: Arc<Mutex<Option<Instant>>>,
    /// What is there, for the log.
    what: &'static str,
}

impl<DB: Database> Login<DB> {
    /// The options that the application's pool has at the time.
    pub(super) fn of_pool(pool: &Pool<DB>) -> Self {
        let asked = pool.clone();
        let ask = move || {
            let options = asked.connect_options().as_ref().clone();
            Box::pin(std::future::ready(Ok(options))) as BoxFuture<'static, _>
        };
        Self { pool: Some(pool.clone()), ..Self::asking(ask) }
    }

    pub(super) fn fixed(options: Options<DB>) -> Self {
        Self::asking(move || Box::pin(std::future::ready(Ok(options.clone()))))
    }

    pub(super) fn asking(
        ask: impl Fn() -> BoxFuture<'static, Result<Options<DB>, sqlx::Error>> + Send + Sync + 'static,
    ) -> Self {
        Self { ask: Arc::new(ask), pool: None, refused: Arc::default(), what: "database" }
    }

    /// The same, with options that are ours.
    pub(super) fn with(
        self,
        transition: impl Fn(Options<DB>) -> Options<DB> + Clone + Send + Sync + 'static,
    ) -> Self {
        let Self { ask, pool, refused, what } = self;
        let ask = move || {
            let (options, transition) = (ask(), transition.clone());
            Box::pin(async move { options.await.map(transition) }) as BoxFuture<'static, _>
        };
        Self { ask: Arc::new(ask), pool, refused, what }
    }

    /// The same, of something of its own.
    pub(super) fn of(self, what: &'static str) -> Self {
        Self { what, refused: Arc::default(), ..self }
    }

    pub(super) async fn options(&self) -> Result<Options<DB>, sqlx::Error> {
        (self.ask)().await
    }

    pub(super) const fn pool(&self) -> Option<&Pool<DB>> {
        self.pool.as_ref()
    }

    /// A single connection. A pool tries for long, and does not say why it failed.
    pub(super) async fn connect(&self) -> Result<DB::Connection, StoreError> {
        let connect = async { self.options().await?.connect().await };
        match timeout(PATIENCE, connect).await {
            Ok(connected) => connected.map_err(StoreError::from),
            Err(_) => {
                Err(StoreError::Unavailable(format!("the database did not answer within {PATIENCE:?}")))
            }
        }
    }

    /// Logs when the server begins to refuse the login, and when it accepts it again.
    pub(super) fn note<T>(&self, connected: &Result<T, sqlx::Error>) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match connected {
            Err(error) if is_refused(error) && refused.is_none() => {
                *refused = Some(Instant::now());
                let remedy = if self.pool.is_some() {
                    "call `set_connect_options` with the new password on the pool that the messenger was given"
                } else {
                    "restart with the new URL, or give the messenger a pool or `DatabaseSource::from_provider`"
                };
                tracing::warn!(
                    database = self.what, %error,
                    "password refused since now: the messenger can't log in; {remedy}"
                );
            }
            Ok(_) => {
                if let Some(since) = refused.take() {
                    tracing::info!(
                        database = self.what, refused_for = ?since.elapsed(),
                        "password accepted again: the messenger is logged in"
                    );
                }
            }
            Err(_) => {}
        }
    }
}

/// A connection of the application's pool, with all that its hooks do.
pub(super) async fn acquire<DB: Database>(pool: &Pool<DB>) -> Result<PoolConnection<DB>, StoreError> {
    match timeout(PATIENCE, pool.acquire()).await {
        Ok(acquired) => Ok(acquired?),
        Err(_) => Err(sqlx::Error::PoolTimedOut.into()),
    }
}

/// Class 28: invalid authorization, on MySQL, too.
fn is_refused(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| code.starts_with("28"))
}

impl<DB: Database> Clone for Login<DB> {
    fn clone(&self) -> Self {
        let Self { ask, pool, refused, what } = self;
        Self { ask: Arc::clone(ask), pool: pool.clone(), refused: Arc::clone(refused), what }
    }
}

// Options carry passwords.
impl<DB: Database> fmt::Debug for Login<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}
