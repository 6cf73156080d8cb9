//! A small pool of our own to a database server.
//!
//! An operation that is cut off, by its caller or by time, leaves its connection in the middle of
//! something: sqlx 0.9 gives such a connection to the next borrower, whose statement then may never
//! be committed. So a connection that does not come back from its operation is closed.
//!
//! Not sqlx's pool: it knows one server only, and asks it for a sign of life after every operation, which costs as much
//! as the operation's own round trip.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::database::HasStatementCache;
use sqlx::error::DatabaseError;
use sqlx::query::Query;
use sqlx::{Connection, Database, Executor, IntoArguments, SqlSafeStr, SqlStr};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::literal::named;
use super::login::{Login, PATIENCE};
use crate::fault;
use crate::sql::TablePrefix;
use crate::store::StoreError;

/// How long a connection waits for an operation. Shorter than MySQL's patience with a session of ours.
const IDLE: Duration = Duration::from_secs(20);
/// How long a migration may take: it waits for others who migrate, or use the tables.
pub(super) const MIGRATION: Duration = Duration::from_mins(1);

/// A pool whose operations end in time, and are repeated when their connection turns out to be dead.
pub(super) struct RetryingPool<DB: Database> {
    login: Login<DB>,
    /// What a new connection is told first.
    session: Option<SqlStr>,
    idle: Arc<IdleList<DB>>,
    connections: u32,
    /// As many as there may be connections.
    permits: Semaphore,
    /// Begins every operation as a transaction, where a connection's next statement may reach
    /// another session: behind a transaction pooler. Nothing is prepared there.
    begin: Option<SqlStr>,
}

/// A statement with its values.
pub(super) type Bound<DB> = Query<'static, DB, <DB as Database>::Arguments>;

/// Connections without an operation, those that were used last at the end.
struct IdleList<DB: Database>(Mutex<Vec<Idle<DB>>>);

struct Idle<DB: Database> {
    since: Instant,
    made: Made,
    connection: DB::Connection,
}

/// When a connection was made.
#[derive(Clone, Copy, Debug)]
struct Made {
    /// At how many [`Login::switches`]. It is used only until the next: a primary that is cut off still answers what writes
    /// nothing.
    switches: usize,
    /// After how many [`Login::troubles`]. It leads to the server that was there then.
    troubles: u64,
}

/// A connection for one operation. Dropped before the operation's end, it is closed.
pub(super) struct Checkout<DB: Database> {
    /// Always there, until it is dropped or kept.
    connection: Option<DB::Connection>,
    made: Made,
    idle: Arc<IdleList<DB>>,
    prepared: bool,
    /// What our tables are called.
    pub(super) prefix: TablePrefix,
}

impl<DB: Database + HasStatementCache> RetryingPool<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    /// `session` is what a new connection is told first.
    pub(super) fn new(login: &Login<DB>, connections: u32, session: impl SqlSafeStr) -> Self {
        Self::opened(login, connections, Some(session.into_sql_str()), None)
    }

    #[cfg(feature = "postgres")]
    /// Behind a transaction pooler: `begin` opens each operation's transaction.
    pub(super) fn pooled(login: &Login<DB>, connections: u32, begin: impl SqlSafeStr) -> Self {
        Self::opened(login, connections, None, Some(begin.into_sql_str()))
    }

    fn opened(login: &Login<DB>, connections: u32, session: Option<SqlStr>, begin: Option<SqlStr>) -> Self {
        let idle = Arc::new(IdleList(Mutex::default()));
        let permits = Semaphore::new(connections as usize);
        Self { login: login.clone(), session, idle, connections, permits, begin }
    }

    /// The rows of a statement, which must be idempotent; `bind` gives it its values.
    pub(super) async fn fetch(
        &self,
        sql: &'static str,
        bind: impl Fn(Bound<DB>) -> Bound<DB> + Send + Sync,
    ) -> Result<Vec<DB::Row>, StoreError> {
        self.fetch_since(None, sql, bind).await
    }

    /// The same under the condition that nothing has happened to the way to the server since, if that is given.
    pub(super) async fn fetch_since(
        &self,
        undisturbed_since: Option<u64>,
        sql: &'static str,
        bind: impl Fn(Bound<DB>) -> Bound<DB> + Send + Sync,
    ) -> Result<Vec<DB::Row>, StoreError> {
        let bind = &bind;
        let work = |mut checkout: Checkout<DB>| async move {
            let rows = bind(checkout.query(sql)).fetch_all(&mut *checkout).await?;
            Ok((checkout, rows))
        };
        self.repeated(PATIENCE, undisturbed_since, self.begin.clone(), work).await
    }

    /// What a statement without rows did.
    pub(super) async fn execute(
        &self,
        sql: &'static str,
        bind: impl Fn(Bound<DB>) -> Bound<DB> + Send + Sync,
    ) -> Result<DB::QueryResult, StoreError> {
        let bind = &bind;
        let work = |mut checkout: Checkout<DB>| async move {
            let done = bind(checkout.query(sql)).execute(&mut *checkout).await?;
            Ok((checkout, done))
        };
        self.run(work).await
    }

    /// Does `work` in a transaction. It must be idempotent: it is repeated when its connection was
    /// dead, as all are after the server's restart.
    pub(super) async fn transaction<T, Fut>(
        &self,
        patience: Duration,
        work: impl Fn(Checkout<DB>) -> Fut,
    ) -> Result<T, StoreError>
    where
        Fut: Future<Output = Result<(Checkout<DB>, T), sqlx::Error>>,
    {
        let begin = self.begin.clone().unwrap_or_else(|| "BEGIN".into_sql_str());
        self.repeated(patience, None, Some(begin), work).await
    }

    /// The same, or each statement by itself, under the condition that nothing has happened to the way to the server since, if
    /// that is given.
    #[cfg(feature = "mysql")]
    pub(super) async fn since<T, Fut>(
        &self,
        undisturbed_since: Option<u64>,
        in_transaction: bool,
        work: impl Fn(Checkout<DB>) -> Fut,
    ) -> Result<T, StoreError>
    where
        Fut: Future<Output = Result<(Checkout<DB>, T), sqlx::Error>>,
    {
        let begin = self.begin.clone().or_else(|| in_transaction.then(|| "BEGIN".into_sql_str()));
        self.repeated(PATIENCE, undisturbed_since, begin, work).await
    }

    /// Does `work`, each statement by itself; repeated as a [`transaction`](Self::transaction) is.
    pub(super) async fn run<T, Fut>(&self, work: impl Fn(Checkout<DB>) -> Fut) -> Result<T, StoreError>
    where
        Fut: Future<Output = Result<(Checkout<DB>, T), sqlx::Error>>,
    {
        self.repeated(PATIENCE, None, self.begin.clone(), work).await
    }

    /// How often a connection was lost, or could not be made. When it has changed, the server may be another one.
    pub(super) fn troubles(&self) -> u64 {
        self.login.troubles()
    }

    /// How often another of several servers was turned to.
    pub(super) fn switches(&self) -> u64 {
        self.login.switches() as u64
    }

    /// Done again on another connection where one turns out to be dead; unless the way to the server must be undisturbed since:
    /// the server that answers next may be another one, which took over, and has not all that the one before had.
    async fn repeated<T, Fut>(
        &self,
        patience: Duration,
        undisturbed_since: Option<u64>,
        begin: Option<SqlStr>,
        work: impl Fn(Checkout<DB>) -> Fut,
    ) -> Result<T, StoreError>
    where
        Fut: Future<Output = Result<(Checkout<DB>, T), sqlx::Error>>,
    {
        // Connecting takes no longer than any other operation; and what is not repeated waits for no server to start.
        let (repeats, longest) = match undisturbed_since {
            None => (self.connections, patience.min(PATIENCE)),
            Some(_) => (0, Duration::ZERO),
        };
        let end = Instant::now() + longest;
        let switches = self.login.switches();
        let done = timeout(patience, async {
            // All that are idle may be dead; and behind a pooler, all of the pooler's.
            for _ in 0..repeats {
                match self.attempt(begin.as_ref(), &work, end, None).await {
                    Err(Failed::Statement(error)) if is_lost(&error) || is_read_only(&error) => {
                        tracing::debug!(%error, "a connection was dead; trying another");
                    }
                    done => return done,
                }
            }
            self.attempt(begin.as_ref(), &work, end, undisturbed_since).await
        });
        match done.await {
            Ok(Err(Failed::Connect(error))) => Err(not_connected(error)),
            Ok(done) => done.map_err(|(Failed::Connect(error) | Failed::Statement(error))| error.into()),
            Err(_) => {
                self.login.note_trouble();
                self.login.try_others(switches);
                Err(StoreError::TimedOut(format!("the database did not answer within {patience:?}")))
            }
        }
    }

    /// What goes wrong with the way to the server is noted.
    async fn attempt<T, Fut>(
        &self,
        begin: Option<&SqlStr>,
        work: &impl Fn(Checkout<DB>) -> Fut,
        end: Instant,
        undisturbed_since: Option<u64>,
    ) -> Result<T, Failed>
    where
        Fut: Future<Output = Result<(Checkout<DB>, T), sqlx::Error>>,
    {
        let _permit = self.permits.acquire().await.map_err(|_| Failed::Connect(sqlx::Error::PoolClosed))?;
        let switches = self.login.switches();
        let (connection, made) = if let Some(idle) = self.idle.take(switches) {
            idle
        } else {
            let connection = self.connect(end).await.map_err(Failed::Connect)?;
            (connection, Made { switches, troubles: self.login.troubles() })
        };
        // Looked at last: others may have been in front of us while another server took over.
        if undisturbed_since.is_some_and(|since| self.is_disturbed(made, since)) {
            self.idle.keep(connection, made);
            return Err(Failed::Connect(interrupted()));
        }
        let checkout = Checkout {
            connection: Some(connection),
            made,
            idle: Arc::clone(&self.idle),
            prepared: self.begin.is_none(),
            prefix: self.login.prefix().clone(),
        };
        let (mut checkout, value) = match Self::carry_out(checkout, begin, work).await {
            Err(error) if is_read_only(&error) => {
                self.login.note_trouble();
                self.login.try_others(switches);
                return Err(error.into());
            }
            Err(error) if is_lost(&error) => {
                self.login.note_trouble();
                return Err(error.into());
            }
            done => done?,
        };
        if let Some(connection) = checkout.connection.take()
            && !self.permits.is_closed()
        {
            self.idle.keep(connection, made);
        }
        Ok(value)
    }

    /// Whether the server may be another one than at so many troubles: not that of a connection that was made by then, unless a
    /// pooler is between.
    fn is_disturbed(&self, made: Made, since: u64) -> bool {
        if self.begin.is_some() { self.login.troubles() != since } else { made.troubles > since }
    }

    async fn carry_out<T, Fut>(
        mut checkout: Checkout<DB>,
        begin: Option<&SqlStr>,
        work: &impl Fn(Checkout<DB>) -> Fut,
    ) -> Result<(Checkout<DB>, T), sqlx::Error>
    where
        Fut: Future<Output = Result<(Checkout<DB>, T), sqlx::Error>>,
    {
        if let Some(begin) = begin {
            (&mut *checkout).execute(begin.clone()).await?;
        }
        let (mut checkout, value) = work(checkout).await?;
        if begin.is_some() {
            (&mut *checkout).execute("COMMIT").await?;
        }
        Ok((checkout, value))
    }

    async fn connect(&self, end: Instant) -> Result<DB::Connection, sqlx::Error> {
        let mut connection = self.login.connect_until(end.into_std()).await?;
        if let Some(session) = &self.session {
            (&mut connection).execute(session.clone()).await?;
        }
        Ok(connection)
    }

    pub(super) async fn close(&self) {
        self.permits.close();
        let idle: Vec<_> = self.idle.connections().drain(..).collect();
        for idle in idle {
            // Gone already, perhaps; whoever closes does not wait for a server that does not answer.
            let _ = timeout(PATIENCE, idle.connection.close()).await;
        }
    }
}

impl<DB: Database> IdleList<DB> {
    fn connections(&self) -> MutexGuard<'_, Vec<Idle<DB>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, switches: usize) -> Option<(DB::Connection, Made)> {
        let mut connections = self.connections();
        connections.retain(|idle| idle.made.switches == switches);
        connections.pop().map(|idle| (idle.connection, idle.made))
    }

    /// Keeps a connection for the next operation, and closes those that have waited for one too long.
    fn keep(&self, connection: DB::Connection, made: Made) {
        let since = Instant::now();
        let mut connections = self.connections();
        connections.push(Idle { since, made, connection });
        connections.retain(|idle| since.duration_since(idle.since) < IDLE);
    }
}

/// Where an operation failed.
enum Failed {
    /// There is no server, or none that lets us in: nothing to be repeated.
    Connect(sqlx::Error),
    Statement(sqlx::Error),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Statement(error)
    }
}

fn interrupted() -> sqlx::Error {
    let why = "the connection to the server was interrupted meanwhile: another one may have taken over";
    io::Error::new(io::ErrorKind::ConnectionAborted, why).into()
}

/// A server that lets nobody in, for whatever reason, says nothing about what was to be done there.
fn not_connected(error: sqlx::Error) -> StoreError {
    match StoreError::from(error) {
        StoreError::Unexpected(why) | StoreError::Refused(why) | StoreError::Schema(why) => {
            StoreError::Unavailable(why)
        }
        error @ (StoreError::Unavailable(_) | StoreError::TimedOut(_) | StoreError::Contended(_)) => error,
    }
}

/// Whether the connection is dead, and nothing else is wrong.
fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        // PostgreSQL and MySQL, when they are shut down or close the session, or the transaction was
        // idle for too long; and PgBouncer (08P01), when that happened to a connection of its own.
        sqlx::Error::Database(error) => {
            matches!(
                DatabaseError::code(error.as_ref()).as_deref(),
                Some("57P01" | "57P02" | "25P03" | "08P01" | "08S01" | "70100")
            )
        }
        _ => false,
    }
}

/// Whether the server may not be written to any more, or is outside of its cluster: where several are named, another one is
/// tried.
fn is_read_only(error: &sqlx::Error) -> bool {
    match error {
        #[cfg(feature = "postgres")]
        sqlx::Error::Database(error) if error.code().as_deref() == Some("25006") => true,
        #[cfg(feature = "mysql")]
        sqlx::Error::Database(error) => error
            .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
            .is_some_and(|error| super::mysql::errors::WRITES_NOTHING.contains(&error.number())),
        _ => false,
    }
}

impl<DB: Database + HasStatementCache> Checkout<DB> {
    /// A statement with bound values.
    pub(super) fn query(&self, sql: &'static str) -> Bound<DB> {
        sqlx::query(named(&self.prefix, sql)).persistent(self.prepared)
    }
}

impl<DB: Database> Drop for Checkout<DB> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && fault::bug("not-closed")
        {
            self.idle.keep(connection, self.made);
        }
    }
}

impl<DB: Database> Deref for Checkout<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        self.connection.as_ref().unwrap_or_else(|| unreachable!("it is taken at the end"))
    }
}

impl<DB: Database> DerefMut for Checkout<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.connection.as_mut().unwrap_or_else(|| unreachable!("it is taken at the end"))
    }
}

impl<DB: Database> fmt::Debug for RetryingPool<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryingPool").field("connections", &self.connections).finish_non_exhaustive()
    }
}

impl<DB: Database> fmt::Debug for Checkout<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkout").finish_non_exhaustive()
    }
}
