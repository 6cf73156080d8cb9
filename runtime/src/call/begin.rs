//! `begin`: opens the business transaction with the fence row as its first statement.

use std::marker::PhantomData;

use futures_util::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::{Connection, Pool};

use super::running;
use super::transaction::FencedTransaction;
use crate::error::{Error, ErrorKind};
use crate::fault;
use crate::message::CallId;
use crate::sql::raw::ConnectionRef;
use crate::sql::{
    BusinessDatabase, FenceKey, FenceRefusal, Giver, Isolation, RawTransaction, TransactionDialect,
    WriteTurn, fit_connection,
};
use crate::store::StoreError;

/// Opens the business transaction of a fenced call: `BEGIN`, and the fence row with it.
///
/// `on` is a pool, or a connection without an open transaction (somebody else's commit isn't ours
/// to prove).
///
/// # Errors
/// [`ErrorKind::Misuse`] outside a fenced call, while another transaction of the call is open, or
/// with a pool that leads to another database than the messenger's fence; [`ErrorKind::Fenced`]
/// when the call was cancelled meanwhile; [`ErrorKind::AlreadyCommitted`] when an earlier
/// transaction of the call has committed or may have; [`ErrorKind::Schema`] when the database has no
/// fence; [`ErrorKind::Unavailable`]. On every error
/// the transaction is rolled back before the error is returned.
///
/// # Cancel safety
/// A dropped `begin` leaves no transaction open: it is rolled back, or its pooled connection is closed. On a bare
/// connection of PostgreSQL or MySQL, sqlx 0.9 can't do that for a `begin` that has not answered yet: give `begin` the
/// pool, or close such a connection.
///
/// # PostgreSQL
/// What proves the transaction is an open cursor. So a body can't say `COPY .. FREEZE`, and after a `CLOSE ALL` it can't
/// commit.
///
/// # MySQL and MariaDB
/// Some errors roll the whole transaction back there: a deadlock (1213), on MariaDB 11 a row that others have
/// changed since it was read (1020), a lock time-out where `innodb_rollback_on_timeout` is on. A body that swallows
/// such an error and writes on can't commit what it writes: on a pool, `begin` sets `autocommit = 0` until the
/// transaction's end. On a connection, pooled or bare, that can't be done, since its owner may go on using it: what is
/// written after such an error commits by itself there, and no message is sent for it. Give `begin` the pool.
///
/// A pooled connection whose transaction was only dropped is closed: sqlx 0.9 loses track of one that was left while a
/// statement was being prepared, and its next borrower would read another statement's answer.
#[must_use = "a transaction is opened when this is awaited"]
pub const fn begin<'c, B: BeginOn<'c>>(on: B) -> Begin<'c, B> {
    Begin { on, isolation: None, lifetime: PhantomData }
}

/// A fenced transaction to be opened. See [`begin`].
#[derive(Debug)]
#[must_use = "a transaction is opened when this is awaited"]
pub struct Begin<'c, B> {
    on: B,
    isolation: Option<Isolation>,
    lifetime: PhantomData<&'c ()>,
}

impl<B> Begin<'_, B> {
    /// Chooses the isolation level: it can't be set any more when the fence row is in. Default: the
    /// database's. (SQLite has one level, [`Isolation::Serializable`].)
    pub const fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = Some(isolation);
        self
    }
}

/// What [`begin`] can open a transaction on: `&Pool`, `&mut` connection.
#[diagnostic::on_unimplemented(
    message = "`begin` cannot open a fenced transaction on `{Self}`",
    note = "pass the pool, as `&SqlitePool`, or `&mut` a connection; an open transaction is somebody else's to commit"
)]
pub trait BeginOn<'c>: Send + Sized + 'c {
    /// The kind of database.
    type Database: BusinessDatabase;

    #[doc(hidden)]
    fn open(self, isolation: Option<Isolation>, fence: FenceKey) -> Opening<'c, Self::Database>;
}

/// A transaction that is being opened.
type Opening<'c, DB> = BoxFuture<'c, Result<(RawTransaction<'c, DB>, WriteTurn), Refusal>>;

/// Why a transaction was not opened.
#[derive(Debug)]
pub enum Refusal {
    Fence(FenceRefusal),
    Begin(sqlx::Error),
}

impl<'c, DB: BusinessDatabase> BeginOn<'c> for &'c Pool<DB> {
    type Database = DB;

    fn open(self, isolation: Option<Isolation>, fence: FenceKey) -> Opening<'c, DB> {
        Box::pin(async move {
            let failed = |error| Refusal::Fence(FenceRefusal::Failed(error));
            let (connection, turn) = fit_connection(self).await.map_err(failed)?;
            let tx = RawTransaction::new(ConnectionRef::Pool(connection));
            Ok((open_on(tx, isolation, fence).await?, turn))
        })
    }
}

impl<'c, DB: BusinessDatabase> BeginOn<'c> for &'c mut PoolConnection<DB> {
    type Database = DB;

    fn open(self, isolation: Option<Isolation>, fence: FenceKey) -> Opening<'c, DB> {
        Box::pin(on_connection(ConnectionRef::Lent(self), isolation, fence))
    }
}

/// A bare connection, whose kind of database the compiler has to be told.
macro_rules! begin_on_connection {
    ($feature:literal, $database:ty, $connection:ty) => {
        #[cfg(feature = $feature)]
        impl<'c> BeginOn<'c> for &'c mut $connection {
            type Database = $database;

            fn open(self, isolation: Option<Isolation>, fence: FenceKey) -> Opening<'c, $database> {
                Box::pin(on_connection(ConnectionRef::<$database>::Bare(self), isolation, fence))
            }
        }
    };
}

begin_on_connection!("sqlite", sqlx::Sqlite, sqlx::SqliteConnection);
begin_on_connection!("postgres", sqlx::Postgres, sqlx::PgConnection);
begin_on_connection!("mysql", sqlx::MySql, sqlx::MySqlConnection);

async fn on_connection<DB: BusinessDatabase>(
    connection: ConnectionRef<'_, DB>,
    isolation: Option<Isolation>,
    fence: FenceKey,
) -> Result<(RawTransaction<'_, DB>, WriteTurn), Refusal> {
    let tx = RawTransaction::new(connection);
    // sqlx refuses, too, and rolls back the transaction that is not ours.
    if tx.is_in_transaction() {
        tx.leave_open();
        return Err(Refusal::Begin(sqlx::Error::InvalidSavePointStatement));
    }
    Ok((open_on(tx, isolation, fence).await?, WriteTurn::default()))
}

/// Begins, with the fence row.
async fn open_on<DB: BusinessDatabase>(
    mut tx: RawTransaction<'_, DB>,
    isolation: Option<Isolation>,
    fence: FenceKey,
) -> Result<RawTransaction<'_, DB>, Refusal> {
    let giver = tx.giver();
    tx.may_be_cut_off();
    let begun = DB::begin_fenced(&mut tx, isolation, giver, fence).await;
    let begun = begun.inspect(|()| fault::point("fence-inserted")).map_err(Refusal::Fence);
    tx.ended();
    if let Err(refusal) = begun {
        // The connection goes back to the user's pool: never with an open transaction.
        if !tx.is_in_transaction() {
            // Nothing of an owner's session was changed.
            if giver == Giver::Owner {
                tx.restored();
            }
        } else if let Err(error) = tx.rollback().await {
            tracing::debug!(%error, "rolling back a refused transaction failed; its connection will be closed");
        }
        return Err(refusal);
    }
    Ok(tx)
}

impl<'c, B: BeginOn<'c>> IntoFuture for Begin<'c, B> {
    type Output = Result<FencedTransaction<'c, B::Database>, Error>;
    type IntoFuture = BoxFuture<'c, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        // The call is looked up now: the future may be polled where the task-local is another's.
        let running = running::current();
        Box::pin(async move {
            let open = running?.open_transaction(<B::Database as TransactionDialect>::WAITS_FOR_ITSELF)?;
            let key = open.key();
            match self.on.open(self.isolation, key.clone()).await {
                Ok((tx, turn)) => Ok(FencedTransaction::new(tx, open, turn)),
                Err(refusal) => Err(explain(refusal, &open.function(), key.call_id)),
            }
        })
    }
}

fn explain(refusal: Refusal, function: &str, id: CallId) -> Error {
    let error = match refusal {
        Refusal::Begin(
            cause @ (sqlx::Error::InvalidSavePointStatement | sqlx::Error::BeginFailed),
        ) => Error::new(
            ErrorKind::Misuse,
            format!("`begin` in `{function}` was given a connection with an open transaction: give it the pool or a fresh connection"),
        )
        .with_source(cause),
        Refusal::Begin(cause) => unavailable(function, StoreError::from(cause)),
        Refusal::Fence(FenceRefusal::Failed(cause)) => unavailable(function, cause),
        Refusal::Fence(FenceRefusal::Fenced) => Error::new(
            ErrorKind::Fenced,
            format!("the call {id} of `{function}` was cancelled by a check-back before its transaction began: nothing was done, try again"),
        )
        .retryable(true),
        Refusal::Fence(FenceRefusal::AlreadyCommitted) => Error::new(
            ErrorKind::AlreadyCommitted,
            format!("the call {id} of `{function}` has committed a transaction already"),
        ),
        Refusal::Fence(FenceRefusal::WrongDatabase) => Error::new(
            ErrorKind::Misuse,
            format!("`begin` in `{function}` was given another database than the messenger's fence: pass `begin` the pool that went into `Messenger::builder(..).fence(..)`"),
        ),
    };
    error.in_body()
}

fn unavailable(function: &str, cause: StoreError) -> Error {
    if matches!(cause, StoreError::Schema(_)) {
        let text = format!(
            "the database that `begin` in `{function}` was given has no fence that it can use; is `begin`'s pool one of \
             those that went into `MessengerBuilder::fence`?"
        );
        return Error::new(ErrorKind::Schema, text).with_source(cause);
    }
    Error::new(ErrorKind::Unavailable, format!("the fenced transaction of `{function}` could not be opened"))
        .with_source(cause)
}
