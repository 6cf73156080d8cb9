//! A message that kills its process, among others that are in hand with it: it is given up after as many deaths as
//! were asked for, and nobody else is blamed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};
use sqlx::{MySqlConnection, PgConnection, SqliteConnection};
use tokio::sync::watch;
use transactional_message::{Call, Consume, Consumer, Message, Messenger, Received};

use super::{PATIENCE, wait};
use crate::child;
use crate::database::{Database, Kind, with_pool};
use crate::place::Place;
use crate::process::Service;
use crate::service::{ActionError, HANDLER};

const ATTEMPTS: u32 = 3;
/// The first time, all that were in hand may have been to blame.
const DEATHS: u32 = ATTEMPTS + 1;
const KILLER: usize = 0;
const MESSAGES: usize = 8;
/// All that a restarted process is to have in hand has come to it by then: how much that is, is what is looked at, so
/// there is nothing to wait for.
const TIME_TO_COME: Duration = Duration::from_millis(500);

#[derive(Serialize, Deserialize)]
struct Order {
    number: usize,
}

/// Handles orders, and dies of one.
#[derive(Clone)]
struct Handler {
    /// The first life, in which the others wait for the end if they can: SQLite lets one at a time begin.
    first: bool,
    side_by_side: bool,
    begun: Arc<watch::Sender<usize>>,
    /// Whether all are sent: the killer of the first life waits for that.
    sent: Arc<watch::Sender<bool>>,
}

impl Handler {
    async fn act(self, number: usize) {
        self.begun.send_modify(|begun| *begun += 1);
        if number != KILLER {
            if self.first && self.side_by_side {
                std::future::pending::<()>().await;
            }
            return;
        }
        if self.first {
            reached(&self.sent, |sent| *sent).await;
            let enough = if self.side_by_side { MESSAGES } else { 1 };
            reached(&self.begun, |begun| *begun >= enough).await;
        }
        tokio::time::sleep(TIME_TO_COME).await;
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

/// Waits until it is as it was to be; the sender is the caller's, so it is there as long.
async fn reached<T>(value: &watch::Sender<T>, condition: impl FnMut(&T) -> bool) {
    let _ = value.subscribe().wait_for(condition).await;
}

macro_rules! handles {
    ($connection:ty, $insert:literal) => {
        impl<'c> Consume<'c, $connection, Order> for Handler {
            type Error = sqlx::Error;
            type Future = BoxFuture<'c, Result<(), sqlx::Error>>;

            fn consume(&self, tx: &'c mut $connection, message: Received<Order>) -> Self::Future {
                let it = self.clone();
                Box::pin(async move {
                    let part = i64::try_from(message.payload.number).unwrap_or_default();
                    sqlx::query($insert).bind(message.id).bind(part).execute(tx).await?;
                    it.act(message.payload.number).await;
                    Ok(())
                })
            }
        }
    };
}
handles!(SqliteConnection, "INSERT INTO booked (action, part, content) VALUES (?, ?, '')");
handles!(PgConnection, "INSERT INTO booked (action, part, content) VALUES ($1, $2, '')");
handles!(MySqlConnection, "INSERT INTO booked (action, part, content) VALUES (?, ?, '')");

pub(super) async fn play(place: &Place) -> anyhow::Result<()> {
    let mut deaths = 0;
    loop {
        let first: &[&str] = if deaths == 0 { &["--first"] } else { &[] };
        let mut service = Service::start_as("live-with-killer", place, first)?;
        let ended = service.end(PATIENCE * 2).await?;
        if ended.success() {
            break;
        }
        deaths += 1;
        anyhow::ensure!(deaths <= DEATHS, "the message has killed {deaths} processes, and is not dead");
    }
    let (booked, dead) = (booked(&place.accounting().await?).await?, dead(place).await?);
    anyhow::ensure!(dead == 1, "{dead} messages are dead, and only one is to blame");
    anyhow::ensure!(booked == MESSAGES - 1, "{booked} messages of {MESSAGES} had an effect");
    anyhow::ensure!(deaths == DEATHS, "the message was given up after {deaths} deaths, not after {DEATHS}");
    Ok(())
}

/// One life of the service: until every message has its effect, or is dead.
pub(crate) async fn live(directory: &Path, first: bool) -> anyhow::Result<()> {
    let filter = "error,transactional_message=warn";
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    let place = Place::find(directory)?;
    let (store, business, accounting) =
        tokio::try_join!(place.store(), place.business(), place.accounting())?;
    let handler = Handler {
        first,
        side_by_side: accounting.kind() != Kind::Sqlite,
        begun: Arc::default(),
        sent: Arc::default(),
    };
    let queue = place.exchange();
    let consumer = match accounting.clone() {
        Database::Sqlite(pool) => Consumer::new(queue, pool, handler.clone()),
        Database::Postgres(pool) => Consumer::new(queue, pool, handler.clone()),
        Database::MySql(pool) => Consumer::new(queue, pool, handler.clone()),
    };
    let consumer = consumer.bind(place.exchange(), "#").max_attempts(ATTEMPTS).concurrency(MESSAGES);
    let mut builder = Messenger::builder(&store)
        .settings(child::settings(Duration::from_hours(2)))
        .fence("business", &business)
        .data(business.clone())
        .consumer(consumer);
    if let Some(broker) = &place.broker {
        builder = builder.rabbitmq(broker.settings());
    }
    let messenger = builder.build().await?;
    messenger.migrate().await?;
    messenger.start().await?;
    if first {
        send(&messenger, &place, &handler).await?;
    }
    wait("every message to have its effect, or to be dead", async || {
        Ok(booked(&accounting).await? + dead(&place).await? >= MESSAGES)
    })
    .await?;
    anyhow::ensure!(messenger.shutdown(PATIENCE).await, "the service did not end in time");
    Ok(())
}

/// The killer first, so that it is the first that comes again.
async fn send(messenger: &Messenger, place: &Place, handler: &Handler) -> anyhow::Result<()> {
    for number in 0..MESSAGES {
        let message = Message::json(place.exchange(), "order", &Order { number })?;
        let body = async { Ok::<_, ActionError>(()) };
        messenger.call(Call::new(HANDLER).message(message).check_back(HANDLER), body).await?;
        reached(&handler.begun, |begun| *begun > 0).await;
    }
    // What dies undecided would be cancelled.
    wait("every message to be decided", async || Ok(messenger.stats().await?.half == 0)).await?;
    handler.sent.send_replace(true);
    std::future::pending().await
}

async fn booked(accounting: &Database) -> anyhow::Result<usize> {
    count(accounting, "SELECT count(*) FROM booked").await
}

async fn dead(place: &Place) -> anyhow::Result<usize> {
    let dead = count(&place.store().await?, "SELECT count(*) FROM tm_message WHERE state = 5").await?;
    match &place.broker {
        None => Ok(dead),
        Some(broker) => Ok(dead + usize::try_from(broker.dead().await?)?),
    }
}

async fn count(database: &Database, select: &str) -> anyhow::Result<usize> {
    let select = database.sql(select);
    let count: i64 = with_pool!(database, pool => sqlx::query_scalar(select).fetch_one(pool).await?);
    Ok(usize::try_from(count)?)
}
