//! A small pool of our own to a database server.
//!
//! An operation that is cut off, by its caller or by time, leaves its connection in the middle of
//! something: sqlx 0.9 gives such a connection to the next borrower, whose statement then may never
//! be committed. So a connection that does not come back from its operation is closed.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::query::Query;
use sqlx::{Connection, Database, Executor, Pool, SqlSafeStr};
use tokio::time::timeout;

use crate::store::StoreError;

/// How long an operation may take, connecting included.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A pool whose operations end in time, and are repeated when their connection turns out to be dead.
#[derive(Debug)]
pub(super) struct OwnPool<DB: Database> {
    pool: Pool<DB>,
    /// Begins every operation as a transaction, where a connection's next statement may reach
    /// another session: behind a transaction pooler. Nothing is prepared there.
    begin: Option<&'static str>,
}

/// A connection for one operation. Dropped before the operation's end, it is closed.
pub(super) struct Lent<DB: Database> {
    connection: PoolConnection<DB>,
    prepared: bool,
    done: bool,
}

impl<DB: Database> OwnPool<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    /// `session` is what a new connection is told first.
    pub(super) fn new(
        options: <DB::Connection as Connection>::Options,
        connections: u32,
        session: &'static str,
    ) -> Self {
        Self { pool: own(connections, options, session), begin: None }
    }

    /// Behind a transaction pooler: `begin` opens each operation's transaction.
    pub(super) fn pooled(
        options: <DB::Connection as Connection>::Options,
        connections: u32,
        begin: &'static str,
    ) -> Self {
        Self { pool: own(connections, options, ""), begin: Some(begin) }
    }

    /// Does `work` on a connection, in time. `work` must be idempotent: it is repeated when its
    /// connection was dead, as all are after the server's restart.
    pub(super) async fn run<T, Fut>(&self, work: impl Fn(Lent<DB>) -> Fut) -> Result<T, StoreError>
    where
        Fut: Future<Output = Result<(Lent<DB>, T), sqlx::Error>>,
    {
        let done = timeout(PATIENCE, async {
            for _ in 0..self.pool.size() {
                match self.attempt(self.pool.acquire().await?, &work).await {
                    Err(error) if is_lost(&error) => tracing::debug!(%error, "a dead connection"),
                    done => return done,
                }
            }
            self.attempt(self.pool.acquire().await?, &work).await
        });
        match done.await {
            Ok(done) => done.map_err(StoreError::from),
            Err(_) => {
                Err(StoreError::Unavailable(format!("the database did not answer within {PATIENCE:?}")))
            }
        }
    }

    async fn attempt<T, Fut>(
        &self,
        connection: PoolConnection<DB>,
        work: &impl Fn(Lent<DB>) -> Fut,
    ) -> Result<T, sqlx::Error>
    where
        Fut: Future<Output = Result<(Lent<DB>, T), sqlx::Error>>,
    {
        let mut lent = Lent { connection, prepared: self.begin.is_none(), done: false };
        if let Some(begin) = self.begin {
            lent.execute(begin).await?;
        }
        let (mut lent, value) = work(lent).await?;
        if self.begin.is_some() {
            lent.execute("COMMIT").await?;
        }
        lent.done = true;
        Ok(value)
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

fn own<DB: Database>(
    connections: u32,
    options: <DB::Connection as Connection>::Options,
    session: &'static str,
) -> Pool<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        // A dead connection shows at its first statement, which is repeated on another.
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                if !session.is_empty() {
                    connection.execute(session).await?;
                }
                Ok(())
            })
        })
        .connect_lazy_with(options)
}

/// Whether the connection is dead, and nothing else is wrong.
fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        // PostgreSQL and MySQL, when they are shut down or close the session.
        sqlx::Error::Database(error) => {
            matches!(
                DatabaseError::code(error.as_ref()).as_deref(),
                Some("57P01" | "57P02" | "08S01" | "70100")
            )
        }
        _ => false,
    }
}

impl<DB: Database> Lent<DB> {
    /// A statement with bound values.
    pub(super) fn query<'q>(&self, sql: impl SqlSafeStr) -> Query<'q, DB, DB::Arguments> {
        sqlx::query(sql).persistent(self.prepared)
    }
}

impl<DB: Database> Drop for Lent<DB> {
    fn drop(&mut self) {
        if !self.done {
            self.connection.close_on_drop();
        }
    }
}

impl<DB: Database> Deref for Lent<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl<DB: Database> DerefMut for Lent<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.connection
    }
}

impl<DB: Database> fmt::Debug for Lent<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").finish_non_exhaustive()
    }
}
