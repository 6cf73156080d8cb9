//! The way into a database server, asked for before every connection: passwords change while we run. Where several
//! servers are named, it leads to the one that may be written to.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sqlx::error::DatabaseError;
use sqlx::pool::PoolConnection;
use sqlx::{ConnectOptions, Connection, Database, Executor, Pool};
use tokio::time::{sleep, timeout};

use crate::in_turn::in_turn;
use crate::sql::TablePrefix;
use crate::store::StoreError;

/// How long an operation may take, connecting included.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How long one of several servers may take to answer.
const SILENT: Duration = Duration::from_secs(2);
/// When a server that starts, or a cluster that has no primary yet, is tried again: at first, and at most.
const AGAIN: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

pub(super) type Options<DB> = <<DB as Database>::Connection as Connection>::Options;
type Ask<DB> = dyn Fn() -> BoxFuture<'static, Result<Vec<Server<DB>>, sqlx::Error>> + Send + Sync;

/// A server, and how to log in.
pub(super) struct Server<DB: Database> {
    /// Host and port.
    pub(super) place: String,
    pub(super) options: Options<DB>,
    /// A statement that has a row where the server may not be written to. With it, such a server is as good as none.
    pub(super) is_read_only: Option<&'static str>,
}

/// Which server is tried first, of how many.
#[derive(Default)]
struct Turn {
    first: AtomicUsize,
    count: AtomicUsize,
    /// How often another one was given precedence.
    switches: AtomicUsize,
}

/// How to connect, now.
pub(crate) struct Login<DB: Database> {
    ask: Arc<Ask<DB>>,
    turn: Arc<Turn>,
    /// How often a connection was lost, or could not be made, or led to another server than the one before; counted from 1.
    troubles: Arc<AtomicU64>,
    /// The application's pool, if it gave us one.
    pool: Option<Pool<DB>>,
    /// Since when the server has refused the login. The pools of one database share it, so that it is logged once.
    refused: Arc<Mutex<Option<Instant>>>,
    /// What is there, for the log.
    what: &'static str,
    /// What our tables there are called.
    prefix: TablePrefix,
}

impl<DB: Database> Login<DB> {
    /// The options that the application's pool has at the time.
    pub(super) fn of_pool(pool: &Pool<DB>) -> Self {
        let asked = pool.clone();
        let ask = move || {
            let options = asked.connect_options().as_ref().clone();
            let server = Server { place: String::new(), options, is_read_only: None };
            Box::pin(std::future::ready(Ok(vec![server]))) as BoxFuture<'static, _>
        };
        Self { pool: Some(pool.clone()), ..Self::asking(ask) }
    }

    pub(super) fn fixed(servers: Vec<Server<DB>>) -> Self {
        Self::asking(move || Box::pin(std::future::ready(Ok(servers.clone()))))
    }

    pub(super) fn asking(
        ask: impl Fn() -> BoxFuture<'static, Result<Vec<Server<DB>>, sqlx::Error>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            ask: Arc::new(ask),
            turn: Arc::default(),
            troubles: Arc::new(AtomicU64::new(1)),
            pool: None,
            refused: Arc::default(),
            what: "database",
            prefix: TablePrefix::default(),
        }
    }

    /// The same, with options that are ours.
    pub(super) fn with(
        self,
        transition: impl Fn(Options<DB>) -> Options<DB> + Clone + Send + Sync + 'static,
    ) -> Self {
        let asked = Arc::clone(&self.ask);
        let ask = move || {
            let (servers, transition) = (asked(), transition.clone());
            let changed = move |server: Server<DB>| Server { options: transition(server.options), ..server };
            Box::pin(async move { Ok(servers.await?.into_iter().map(changed).collect()) })
                as BoxFuture<'static, _>
        };
        Self { ask: Arc::new(ask), ..self }
    }

    /// The same, of something of its own.
    pub(super) fn of(self, what: &'static str) -> Self {
        Self { what, refused: Arc::default(), ..self }
    }

    /// The same, to tables whose names begin like this.
    pub(super) fn named(self, prefix: &TablePrefix) -> Self {
        Self { prefix: prefix.clone(), ..self }
    }

    pub(super) const fn prefix(&self) -> &TablePrefix {
        &self.prefix
    }

    pub(super) const fn pool(&self) -> Option<&Pool<DB>> {
        self.pool.as_ref()
    }

    /// A connection, or why there is none, at once.
    pub(super) async fn connect(&self) -> Result<DB::Connection, StoreError>
    where
        for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    {
        match timeout(PATIENCE, self.connect_until(Instant::now())).await {
            Ok(connected) => connected.map_err(StoreError::from),
            Err(_) => Err(StoreError::TimedOut(format!("the database did not answer within {PATIENCE:?}"))),
        }
    }

    /// The same, and until then waits for a server that is starting. Boxed: it is seldom, and a deep type.
    pub(super) fn connect_until(&self, end: Instant) -> BoxFuture<'_, Result<DB::Connection, sqlx::Error>>
    where
        for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    {
        Box::pin(async move {
            let mut pause = AGAIN[0];
            loop {
                let connected = self.attempt().await;
                if connected.is_err() {
                    self.note_trouble();
                }
                match &connected {
                    Err(error) if may_pass(error) && Instant::now() + 2 * pause < end => {
                        sleep(pause).await;
                        pause = (pause * 2).min(AGAIN[1]);
                    }
                    _ => {
                        self.note(&connected);
                        return connected;
                    }
                }
            }
        })
    }

    async fn attempt(&self) -> Result<DB::Connection, sqlx::Error>
    where
        for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    {
        let servers = (self.ask)().await?;
        let count = servers.len();
        self.turn.count.store(count, Ordering::Relaxed);
        let (switches, first) = (self.switches(), self.turn.first.load(Ordering::Relaxed));
        let order = (first..first + count).map(|index| index % count);
        let attempts = order.map(|index| {
            let server = &servers[index];
            async move {
                // One that is silent is not waited for while another becomes the primary.
                let connecting = async {
                    if count == 1 {
                        return server.connect().await;
                    }
                    timeout(SILENT, server.connect()).await.map_err(io::Error::from)?
                };
                let connected = connecting.await.map_err(|error| (server.place.clone(), error));
                Ok((index, connected?))
            }
        });
        let (index, connection) = in_turn(attempts).await.map_err(in_vain)?;
        if index != first % count {
            self.note_trouble();
        }
        if self.switches() == switches {
            self.turn.first.store(index, Ordering::Relaxed);
        }
        Ok(connection)
    }

    /// How often another server was given precedence.
    pub(super) fn switches(&self) -> usize {
        self.turn.switches.load(Ordering::Relaxed)
    }

    /// How often a connection was lost, or could not be made.
    pub(super) fn troubles(&self) -> u64 {
        self.troubles.load(Ordering::SeqCst)
    }

    pub(super) fn note_trouble(&self) {
        self.troubles.fetch_add(1, Ordering::SeqCst);
    }

    /// A server did not answer in time, or may not be written to any more, to which `switches` had led: if there are others,
    /// they are tried before it. A primary that is cut off from its standby takes connections, and finishes no commit.
    pub(super) fn try_others(&self, switches: usize) {
        let Turn { first, count, switches: all } = &*self.turn;
        if count.load(Ordering::Relaxed) > 1
            && all.compare_exchange(switches, switches + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            first.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Logs when the server begins to refuse the login, and when it accepts it again.
    fn note<T>(&self, connected: &Result<T, sqlx::Error>) {
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

impl<DB: Database> Server<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    async fn connect(&self) -> Result<DB::Connection, sqlx::Error> {
        let mut connection = self.options.connect().await?;
        if let Some(statement) = self.is_read_only
            && connection.fetch_optional(sqlx::raw_sql(statement)).await?.is_some()
        {
            let why = "it may not be written to: a standby, or a primary that was stepped down";
            return Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, why).into());
        }
        Ok(connection)
    }
}

/// Why no server lets us in. It is worth waiting as long as one of them may; else a refused login comes first, because it does
/// not pass by itself.
fn in_vain(errors: Vec<(String, sqlx::Error)>) -> sqlx::Error {
    let text = |(place, error): &(String, sqlx::Error)| format!("{place}: {error}");
    let texts: Vec<_> = errors.iter().map(text).collect();
    let (is_one, may_pass) = (errors.len() == 1, errors.iter().any(|(_, error)| may_pass(error)));
    let mut errors = errors.into_iter().map(|(_, error)| error);
    errors.find(|error| is_one || (is_refused(error) && !may_pass)).unwrap_or_else(|| {
        let kind = if may_pass { io::ErrorKind::ConnectionRefused } else { io::ErrorKind::Other };
        io::Error::new(kind, texts.join("; ")).into()
    })
}

/// Whether it is worth waiting for: nobody listens yet, or answers; the server starts (57P03), has no room at the moment
/// (53300, 08004), or is no primary yet.
fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => {
            use io::ErrorKind::{ConnectionRefused, ReadOnlyFilesystem, TimedOut};
            matches!(error.kind(), ConnectionRefused | ReadOnlyFilesystem | TimedOut)
        }
        sqlx::Error::Database(error) => {
            matches!(error.code().as_deref(), Some("57P03" | "53300" | "08004"))
        }
        _ => false,
    }
}

/// Class 28: invalid authorization, on MySQL, too.
fn is_refused(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| code.starts_with("28"))
}

impl<DB: Database> Clone for Server<DB> {
    fn clone(&self) -> Self {
        Self { place: self.place.clone(), options: self.options.clone(), is_read_only: self.is_read_only }
    }
}

impl<DB: Database> Clone for Login<DB> {
    fn clone(&self) -> Self {
        let Self { ask, turn, troubles, pool, refused, what, prefix } = self;
        Self {
            ask: Arc::clone(ask),
            turn: Arc::clone(turn),
            troubles: Arc::clone(troubles),
            pool: pool.clone(),
            refused: Arc::clone(refused),
            prefix: prefix.clone(),
            what,
        }
    }
}

// Options carry passwords.
impl<DB: Database> fmt::Debug for Login<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_worth_waiting_as_long_as_one_server_may_let_us_in() {
        let error = |place: &str, error: io::Error| (place.to_owned(), sqlx::Error::from(error));
        let refused = || error("one:1", io::ErrorKind::ConnectionRefused.into());
        let unknown = || error("two:2", io::Error::other("no such host"));
        let both = in_vain(vec![refused(), unknown()]);
        assert!(may_pass(&both));
        let text = both.to_string();
        assert!(
            text.contains("one:1: ") && text.contains("two:2: ") && text.contains("no such host"),
            "{text}"
        );
        assert!(!may_pass(&in_vain(vec![unknown(), unknown()])));
        assert!(may_pass(&in_vain(vec![refused()])));
    }
}
