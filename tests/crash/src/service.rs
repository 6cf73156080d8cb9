//! The business of the service to be killed: what its functions do, in all the ways in which a body
//! can end, and what is booked for it.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::{MySql, MySqlConnection, PgConnection, Pool, Postgres, Sqlite, SqliteConnection, Transaction};
use transactional_message::{
    Consumer, Data, Error, ErrorKind, HalfMessage, Message, Outcome, Received, begin, call_id, enter, fault,
    send, transactional_message, withhold,
};
use uuid::Uuid;

use crate::caller_log::CallerLog;
use crate::database::{Database, with_pool};

const LONGEST: usize = 2000;
/// Two leases.
const SLOW: Duration = Duration::from_secs(1);
/// The name of the check-back handler.
pub(crate) const HANDLER: &str = "crash.handled";
/// The business key of a message over which its check-back handler kills the process.
pub(crate) const DEADLY: &str = "deadly";

/// What is sent: one part of an action.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Action {
    #[expect(clippy::struct_field_names, reason = "its id")]
    action: Uuid,
    part: i64,
    content: String,
}

/// How a body does its work, and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Plain,
    /// Sends something else than what the arguments said.
    Amend,
    /// Has nothing to send.
    Withhold,
    /// Has nothing to send at first, rolls back, and does its work in another transaction.
    Retry,
    /// Ignores that a statement failed.
    Swallow,
    /// Fails after its work.
    Refuse,
    /// Fails although its work is committed.
    FailLate,
    /// Takes its time first.
    Dawdle,
    /// Panics after its work.
    Panic,
    /// Fails to commit its work, and does it again in another transaction. Both send messages.
    Again,
    /// Ignores a deadlock, and does its work again. On MySQL, whose table `crossing` has two rows.
    Deadlock,
}

/// Most are plain, so that most have a message.
const WAYS: [Behaviour; 10] = [
    Behaviour::Plain,
    Behaviour::Plain,
    Behaviour::Plain,
    Behaviour::Plain,
    Behaviour::Amend,
    Behaviour::Withhold,
    Behaviour::Retry,
    Behaviour::Swallow,
    Behaviour::Refuse,
    Behaviour::FailLate,
];

#[derive(Debug, thiserror::Error)]
pub(crate) enum ActionError {
    #[error("refused by the business")]
    Refused,
    #[error("failed after the commit")]
    Late,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Message(#[from] Error),
}

/// Where the business is done, and where it is told.
#[derive(Clone, Debug)]
pub(crate) struct Shop {
    pub(crate) db: Database,
    pub(crate) exchange: String,
}

impl Shop {
    fn message(&self, routing_key: &str, action: &Action) -> Result<Message, Error> {
        Message::json(&self.exchange, routing_key, action)
    }
}

/// A call to be made.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) action: Uuid,
    kind: CallKind,
    way: Behaviour,
    content: String,
    /// When its caller leaves, if it does not wait.
    patience: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallKind {
    Fenced,
    /// With two messages.
    FencedTwice,
    /// Its body decides on three.
    Decided,
    /// With one, and its body decides on two more.
    FencedAndDecided,
    /// Its body decides on three, in its caller's transaction.
    Entered,
    Handled,
}

impl Call {
    pub(crate) fn draw(random: &mut fastrand::Rng) -> Self {
        let kind = match random.u8(..9) {
            0..3 => CallKind::Fenced,
            3 => CallKind::FencedTwice,
            4 => CallKind::Decided,
            5 => CallKind::FencedAndDecided,
            6 => CallKind::Entered,
            _ => CallKind::Handled,
        };
        let way = match (kind, WAYS[random.usize(..WAYS.len())]) {
            // Which of two messages would be amended?
            (CallKind::Decided | CallKind::FencedAndDecided, Behaviour::Swallow) => Behaviour::Again,
            (CallKind::Handled, Behaviour::Refuse) => Behaviour::Refuse,
            (CallKind::Entered, way @ (Behaviour::Refuse | Behaviour::Withhold)) => way,
            (CallKind::FencedTwice | CallKind::Decided, Behaviour::Amend)
            | (CallKind::Entered | CallKind::Handled, _) => Behaviour::Plain,
            (_, way) => way,
        };
        let length = random.usize(1..LONGEST);
        Self {
            action: Uuid::from_u128(random.u128(..)),
            kind,
            way,
            content: std::iter::repeat_with(|| random.alphanumeric()).take(length).collect(),
            patience: (random.u8(..16) == 0).then(|| Duration::from_micros(random.u64(..10_000))),
        }
    }

    /// One in twenty bodies is slow, or panics: not among the others, which planted bugs count on.
    pub(crate) fn draw_rough(random: &mut fastrand::Rng) -> Self {
        let way = match random.u8(..40) {
            0 => Behaviour::Dawdle,
            1 => Behaviour::Panic,
            _ => return Self::draw(random),
        };
        Self { way, ..Self::plain(random) }
    }

    /// How many messages there must be once it is done.
    const fn parts(&self) -> i64 {
        match (self.kind, self.way) {
            (_, Behaviour::Withhold) => 0,
            (CallKind::FencedTwice, _) => 2,
            (CallKind::Decided | CallKind::FencedAndDecided | CallKind::Entered, _) => 3,
            _ => 1,
        }
    }

    /// Those of its messages that its body decides on.
    const fn decided(&self) -> Range<i64> {
        match self.kind {
            CallKind::Decided | CallKind::Entered => 0..3,
            CallKind::FencedAndDecided => 1..3,
            _ => 0..0,
        }
    }

    pub(crate) fn message(&self, part: i64) -> Action {
        let content = if self.way == Behaviour::Amend && part == 0 {
            "to be amended".into()
        } else {
            self.content.clone()
        };
        Action { action: self.action, part, content }
    }

    /// A fenced call that does its work.
    pub(crate) fn plain(random: &mut fastrand::Rng) -> Self {
        Self { kind: CallKind::Fenced, way: Behaviour::Plain, patience: None, ..Self::draw(random) }
    }

    /// A fenced call whose transaction the database rolls back, which it ignores.
    pub(crate) fn deadlock(random: &mut fastrand::Rng) -> Self {
        Self { way: Behaviour::Deadlock, ..Self::plain(random) }
    }

    /// Makes the call.
    pub(crate) async fn run(&self, shop: &Shop) -> Result<(), ActionError> {
        match self.kind {
            CallKind::Fenced | CallKind::FencedAndDecided => fenced(shop, self).await,
            CallKind::FencedTwice => fenced_twice(shop, self).await,
            CallKind::Decided => decided(shop, self).await,
            CallKind::Entered => match &shop.db {
                Database::Sqlite(pool) => commits_sqlite(pool, shop, self).await,
                Database::Postgres(pool) => commits_postgres(pool, shop, self).await,
                Database::MySql(pool) => commits_mysql(pool, shop, self).await,
            },
            CallKind::Handled => handled(shop, self).await,
        }
    }

    /// Makes the call as its caller does, and writes down what that one was told.
    pub(crate) async fn make(&self, shop: &Shop, told: &CallerLog) -> anyhow::Result<()> {
        if self.way == Behaviour::Panic {
            let (call, shop) = (self.clone(), shop.clone());
            // Whoever calls from a task of its own is told nothing.
            let _ = tokio::spawn(async move { call.run(&shop).await }).await;
            return Ok(());
        }
        let result = match self.patience {
            None => self.run(shop).await,
            Some(patience) => match tokio::time::timeout(patience, self.run(shop)).await {
                Ok(result) => result,
                Err(_) => return Ok(()),
            },
        };
        match result {
            Ok(()) => told.done(self.action),
            Err(ActionError::Refused) => told.refused(self.action),
            Err(ActionError::Message(error)) => match error.kind() {
                ErrorKind::Fenced => told.robbed(self.action),
                ErrorKind::Unproven | ErrorKind::RolledBack => told.refused(self.action),
                _ if !error.body_ran() => told.refused(self.action),
                // Nobody can tell this caller whether it took effect.
                _ => Ok(()),
            },
            Err(ActionError::Database(error)) if is_duplicate(&error) => told.robbed(self.action),
            Err(_) => Ok(()),
        }
    }
}

fn is_duplicate(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// The business row of a call.
macro_rules! record {
    ($db:expr, $on:expr, $call:expr) => {
        sqlx::query($db.sql("INSERT INTO done (message_id, action, parts, content) VALUES (?, ?, ?, ?)"))
            .bind(call_id())
            .bind($call.action)
            .bind($call.parts())
            .bind(&$call.content)
            .execute($on)
    };
}

/// Lets a transaction and a rival wait for each other's row. The rival has written more: it goes on, and the
/// other one is rolled back.
macro_rules! cross {
    ($pool:expr, $tx:expr) => {{
        let mut rival = $pool.begin().await?;
        for statement in [FILL, "UPDATE crossing SET n = n + 1 WHERE id = 2"] {
            sqlx::query(statement).execute(&mut *rival).await?;
        }
        sqlx::query("UPDATE crossing SET n = n + 1 WHERE id = 1").execute(&mut *$tx).await?;
        let (victim, other) = tokio::join!(
            sqlx::query("UPDATE crossing SET n = n + 1 WHERE id = 2").execute(&mut *$tx),
            sqlx::query("UPDATE crossing SET n = n + 1 WHERE id = 1").execute(&mut *rival),
        );
        other?;
        rival.rollback().await?;
        victim.is_err()
    }};
}

/// What a rival has written.
const FILL: &str = "INSERT INTO crossing (id, n) VALUES (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0), (9, 0), \
                    (10, 0), (11, 0), (12, 0), (13, 0), (14, 0), (15, 0), (16, 0), (17, 0), (18, 0), (19, 0)";

#[transactional_message(exchange = shop.exchange.as_str(), routing_key = "fenced", fence, message = call.message(0))]
async fn fenced(shop: &Shop, call: &Call) -> Result<(), ActionError> {
    act(shop, call).await
}

#[transactional_message(fence)]
async fn decided(shop: &Shop, call: &Call) -> Result<(), ActionError> {
    act(shop, call).await
}

#[transactional_message(exchange = shop.exchange.as_str(), routing_key = "twice", fence, message = call.message(0))]
#[transactional_message(exchange = shop.exchange.as_str(), routing_key = "twice", fence, message = call.message(1))]
async fn fenced_twice(shop: &Shop, call: &Call) -> Result<(), ActionError> {
    act(shop, call).await
}

#[transactional_message(name = "crash.handled", exchange = shop.exchange.as_str(), routing_key = "handled",
                        check_back = handled_outcome, message = call.message(0))]
async fn handled(shop: &Shop, call: &Call) -> Result<(), ActionError> {
    let db = &shop.db;
    fault::point("mid-body");
    if call.way == Behaviour::Refuse {
        return Err(ActionError::Refused);
    }
    with_pool!(db, pool => { record!(db, pool, call).await?; });
    Ok(())
}

/// Begins a transaction to the end, also for a caller that leaves meanwhile: sqlx would put the connection back with an open
/// one, in which the next borrower's work is lost. Or the pool has the hook that PRODUCTION shows.
async fn begin_unhurried<D: sqlx::Database>(pool: &Pool<D>) -> Result<Transaction<'static, D>, sqlx::Error> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin().await }).await;
    begun.map_err(|failed| sqlx::Error::Protocol(failed.to_string()))?
}

/// A function that works in its caller's transaction, and that caller, which commits what it has left even if it fails.
macro_rules! enter {
    ($commits:ident, $enters:ident, $database:ty) => {
        #[transactional_message(fence)]
        async fn $enters(
            tx: &mut Transaction<'_, $database>,
            shop: &Shop,
            call: &Call,
        ) -> Result<(), ActionError> {
            let mut entered = enter(&mut *tx).await?;
            for part in call.decided() {
                entered.send(shop.message("decided", &call.message(part))?)?;
            }
            fault::point("mid-body");
            if call.way == Behaviour::Refuse {
                return Err(ActionError::Refused);
            }
            record!(&shop.db, &mut **tx, call).await?;
            if call.way == Behaviour::Withhold {
                withhold()?;
            }
            Ok(entered.done(tx).await?)
        }

        async fn $commits(pool: &Pool<$database>, shop: &Shop, call: &Call) -> Result<(), ActionError> {
            let mut tx = begin_unhurried(pool).await?;
            let ended = $enters(&mut tx, shop, call).await;
            match ended {
                Ok(()) | Err(ActionError::Refused) => tx.commit().await?,
                Err(_) => tx.rollback().await?,
            }
            ended
        }
    };
}
enter!(commits_sqlite, enters_sqlite, Sqlite);
enter!(commits_postgres, enters_postgres, Postgres);
enter!(commits_mysql, enters_mysql, MySql);

/// Sends what goes with a transaction that is not committed.
async fn never_sent(shop: &Shop, call: &Call) -> Result<(), Error> {
    const NO_PART: i64 = 99;
    if !call.decided().is_empty() {
        send(shop.message("decided", &call.message(NO_PART))?).await?;
    }
    Ok(())
}

/// What the body of a fenced call does.
pub(crate) async fn act(shop: &Shop, call: &Call) -> Result<(), ActionError> {
    let db = &shop.db;
    if call.way == Behaviour::Dawdle {
        tokio::time::sleep(SLOW).await;
    }
    with_pool!(db, pool => {
        let mut tx = begin(pool).await?;
        if call.way == Behaviour::Retry {
            record!(db, &mut *tx, call).await?;
            never_sent(shop, call).await?;
            withhold()?;
            tx.rollback().await?;
            tx = begin(pool).await?;
        }
        if call.way == Behaviour::Again {
            record!(db, &mut *tx, call).await?;
            never_sent(shop, call).await?;
            // As a body may that means well, or the database after a deadlock.
            sqlx::raw_sql("ROLLBACK").execute(&mut *tx).await?;
            if tx.commit().await.is_ok() {
                return Err(ActionError::Late);
            }
            tx = begin(pool).await?;
        }
        record!(db, &mut *tx, call).await?;
        for part in call.decided() {
            send(shop.message("decided", &call.message(part))?).await?;
        }
        fault::point("mid-body");
        match call.way {
            Behaviour::Refuse => return Err(ActionError::Refused),
            Behaviour::Deadlock => {
                if cross!(pool, tx) {
                    record!(db, &mut *tx, call).await?;
                }
            }
            Behaviour::Swallow => { let _ = record!(db, &mut *tx, call).await; }
            Behaviour::Withhold => withhold()?,
            Behaviour::Amend => {
                tx.amend(&Action { action: call.action, part: 0, content: call.content.clone() })?;
            }
            // Without a message and a backtrace, whose symbols would be most of the memory.
            Behaviour::Panic => std::panic::resume_unwind(Box::new("as it was to")),
            Behaviour::Plain
            | Behaviour::Retry
            | Behaviour::Again
            | Behaviour::FailLate
            | Behaviour::Dawdle => {}
        }
        tx.commit().await?;
    });
    if call.way == Behaviour::FailLate { Err(ActionError::Late) } else { Ok(()) }
}

/// Exact, as a handler has to be: what is not there now can't come later, since its place is taken.
async fn handled_outcome(half: HalfMessage<Action>, db: Data<Database>) -> Result<Outcome, sqlx::Error> {
    if half.business_key.as_deref() == Some(DEADLY) {
        std::process::abort();
    }
    let db = &db.0;
    with_pool!(db, pool => {
        let insert = db.sql("INSERT INTO done (message_id, action, parts, content) VALUES (?, ?, NULL, '')");
        let taken = sqlx::query(insert).bind(half.call_id).bind(half.payload.action).execute(pool).await;
        match taken {
            Ok(_) => return Ok(Outcome::Cancel),
            Err(error) if is_duplicate(&error) => {}
            Err(error) => return Err(error),
        }
        let select = db.sql("SELECT parts FROM done WHERE message_id = ?");
        let parts: Option<i64> = sqlx::query_scalar(select).bind(half.call_id).fetch_one(pool).await?;
        Ok(if parts.is_some() { Outcome::Confirm } else { Outcome::Cancel })
    })
}

/// The effect of a message, on a connection of one of the databases.
macro_rules! book {
    ($name:ident, $connection:ty, $insert:literal) => {
        async fn $name(tx: &mut $connection, message: Received<Action>) -> Result<(), sqlx::Error> {
            let Action { action, part, content } = message.payload;
            sqlx::query($insert).bind(action).bind(part).bind(content).execute(tx).await?;
            Ok(())
        }
    };
}
book!(book_sqlite, SqliteConnection, "INSERT INTO booked (action, part, content) VALUES (?, ?, ?)");
book!(book_postgres, PgConnection, "INSERT INTO booked (action, part, content) VALUES ($1, $2, $3)");
book!(book_mysql, MySqlConnection, "INSERT INTO booked (action, part, content) VALUES (?, ?, ?)");

pub(crate) fn consumer(queue: &str, accounting: &Database) -> Consumer {
    match accounting.clone() {
        Database::Sqlite(pool) => Consumer::new(queue, pool, book_sqlite),
        Database::Postgres(pool) => Consumer::new(queue, pool, book_postgres),
        Database::MySql(pool) => Consumer::new(queue, pool, book_mysql),
    }
}
