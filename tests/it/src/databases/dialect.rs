//! How a database speaks: statements of the tests, and what legitimately differs in what it does.
//!
//! Nothing is prepared for longer than a statement, so that all of it works behind a transaction
//! pooler, too; most values are written into the statements' text.

use futures_util::future::BoxFuture;
use sqlx::{AssertSqlSafe, Database, Pool};
use transactional_message::{BusinessDatabase, Consumer, MessageId};
use uuid::Uuid;

use crate::ScriptedConsumer;

/// A connection to a kind of database.
pub type Connection<DB> = <DB as Database>::Connection;

/// A kind of database, as the tests speak to it.
pub trait Dialect: BusinessDatabase {
    /// Its folder in `runtime/migrations`.
    const FOLDER: &'static str;
    /// Creates the business table.
    const SHOP: &'static str;
    /// Creates the tables of the consumers.
    const BOOKS: &'static str;
    /// Milliseconds since the Unix epoch.
    const NOW: &'static str;
    /// How often a renewal of leases goes to the server and back.
    const RENEWAL_ROUND_TRIPS: u32;
    /// Whether a database has one writer at a time.
    const ONE_WRITER: bool = false;
    /// Whether a transaction goes on after a statement that failed.
    const GOES_ON: bool;
    /// Takes ten minutes, on a server.
    const STUCK: &'static str;
    /// Ends the transaction with an error, which the body does not mind; and a part of what the
    /// proof says then.
    const SWALLOWED: (&'static str, &'static str);
    /// What may end a transaction underneath: statements, and whether they commit what was done.
    const ENDED_UNDERNEATH: &'static [(&'static [&'static str], bool)];
    /// Takes the fence row away, within the transaction.
    const NO_FENCE: &'static [&'static str];
    /// Moves a session elsewhere, so that the names of our tables mean others, or nothing.
    const MOVES: &'static str;
    /// What a statement says that waited in vain for a lock.
    const LOCKED: &'static str;
    /// Ends a [`poison`](Self::poison).
    const ANTIDOTE: &'static str;

    /// Makes the store refuse to move the message of order 13 to a state, as a poison row does.
    fn poison(state: u8) -> String;

    /// Errors that say nothing about a row, as poolers and clusters give them.
    const STRANGE: &'static [&'static str];

    /// Makes the store fail with one of these whenever a message is to be moved to a state.
    fn trouble(state: u8, error: &str) -> String;

    /// Keeps everybody from writing to a table, and lets them read; and what ends it.
    fn hold(table: &str) -> (String, &'static str);

    /// An id as it is written in a statement.
    fn id(id: impl Into<Uuid>) -> String;

    /// Runs statements, and says how many rows the last one changed.
    fn run(
        connection: &mut Self::Connection,
        sql: impl Into<String>,
    ) -> BoxFuture<'_, Result<u64, sqlx::Error>>;

    /// The numbers in the first column.
    fn numbers(
        connection: &mut Self::Connection,
        sql: impl Into<String>,
    ) -> BoxFuture<'_, Result<Vec<i64>, sqlx::Error>>;

    /// The texts in the first column.
    fn texts(
        connection: &mut Self::Connection,
        sql: impl Into<String>,
    ) -> BoxFuture<'_, Result<Vec<String>, sqlx::Error>>;

    /// Writes the effect of a message.
    fn effect<'c>(
        connection: &'c mut Self::Connection,
        queue: &'c str,
        message_id: MessageId,
        body: &'c str,
    ) -> BoxFuture<'c, Result<(), sqlx::Error>>;

    /// A consumer that listens there.
    fn consumer(queue: &str, pool: Pool<Self>, listener: ScriptedConsumer) -> Consumer;

    /// One that listens to up to so many messages at once.
    fn batch_consumer(queue: &str, size: usize, pool: Pool<Self>, listener: ScriptedConsumer) -> Consumer;
}

/// What is the same for all, and can't be written once for a generic `DB`: sqlx's traits are
/// implemented for each database by itself.
macro_rules! speaks {
    ($placeholders:literal) => {
        fn run(
            connection: &mut Self::Connection,
            sql: impl Into<String>,
        ) -> BoxFuture<'_, Result<u64, sqlx::Error>> {
            let statement = statement(sql);
            Box::pin(async move { Ok(statement.execute(connection).await?.rows_affected()) })
        }

        fn numbers(
            connection: &mut Self::Connection,
            sql: impl Into<String>,
        ) -> BoxFuture<'_, Result<Vec<i64>, sqlx::Error>> {
            let statement = statement(sql);
            Box::pin(async move {
                statement.fetch_all(connection).await?.iter().map(|row| row.try_get(0)).collect()
            })
        }

        fn texts(
            connection: &mut Self::Connection,
            sql: impl Into<String>,
        ) -> BoxFuture<'_, Result<Vec<String>, sqlx::Error>> {
            let statement = statement(sql);
            Box::pin(async move {
                statement.fetch_all(connection).await?.iter().map(|row| row.try_get(0)).collect()
            })
        }

        fn effect<'c>(
            connection: &'c mut Self::Connection,
            queue: &'c str,
            message_id: MessageId,
            body: &'c str,
        ) -> BoxFuture<'c, Result<(), sqlx::Error>> {
            let sql = concat!("INSERT INTO effects (queue, message_id, body) VALUES (", $placeholders, ")");
            // Behind PgBouncer, nothing is kept prepared. On MySQL, what is not kept costs 40 ms: see
            // findings/sqlx_mysql_closing_a_statement_costs_40_ms.sh.
            let is_kept = !sql.contains('$');
            let insert = sqlx::query(sql).bind(queue).bind(message_id).bind(body).persistent(is_kept);
            Box::pin(async move { insert.execute(connection).await.map(drop) })
        }

        fn consumer(queue: &str, pool: Pool<Self>, listener: ScriptedConsumer) -> Consumer {
            Consumer::new(queue, pool, listener)
        }

        fn batch_consumer(
            queue: &str,
            size: usize,
            pool: Pool<Self>,
            listener: ScriptedConsumer,
        ) -> Consumer {
            Consumer::batch(queue, size, pool, listener)
        }
    };
}
pub(super) use speaks;

pub(super) fn statement(sql: impl Into<String>) -> sqlx::RawSql {
    sqlx::raw_sql(AssertSqlSafe(sql.into()))
}

/// Runs statements on a connection of the pool.
pub async fn run<DB: Dialect>(pool: &Pool<DB>, sql: impl Into<String>) -> Result<u64, sqlx::Error> {
    DB::run(&mut *pool.acquire().await?, sql).await
}

/// The numbers in the first column.
pub async fn numbers<DB: Dialect>(pool: &Pool<DB>, sql: impl Into<String>) -> Vec<i64> {
    let mut connection = pool.acquire().await.expect("acquires");
    DB::numbers(&mut connection, sql).await.expect("reads")
}

/// The only number.
pub async fn number<DB: Dialect>(pool: &Pool<DB>, sql: impl Into<String>) -> i64 {
    let numbers = numbers(pool, sql).await;
    assert_eq!(numbers.len(), 1, "not one number: {numbers:?}");
    numbers[0]
}

/// The texts in the first column.
pub async fn texts<DB: Dialect>(pool: &Pool<DB>, sql: impl Into<String>) -> Vec<String> {
    let mut connection = pool.acquire().await.expect("acquires");
    DB::texts(&mut connection, sql).await.expect("reads")
}

/// Writes the business row of an order, with the id of the call's message.
pub async fn write<DB: Dialect>(connection: &mut Connection<DB>, id: u64) -> Result<(), sqlx::Error> {
    let call_id = transactional_message::call_id();
    let sql = format!("INSERT INTO orders (id, message_id) VALUES ({id}, {})", DB::id(call_id));
    DB::run(connection, sql).await.map(drop)
}
