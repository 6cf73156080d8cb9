//! The service to be killed: fenced calls, calls with a handler, and a consumer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::{SqliteConnection, SqlitePool};
use transactional_message::{
    Backoff, Consumer, Data, Error, HalfMessage, Messenger, Outcome, Received, Settings, begin, fault,
    message_id, transactional_message,
};
use uuid::Uuid;

use crate::books::{self, Told};

/// Calls made at once.
const CALLERS: usize = 8;

/// Something that is done, and booked.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Action {
    action: Uuid,
}

#[derive(Debug, thiserror::Error)]
enum ActionError {
    #[error("refused by the business")]
    Refused,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Message(#[from] Error),
}

#[transactional_message(exchange = "actions", routing_key = "fenced", fence, message = Action { action })]
async fn fenced(db: &SqlitePool, action: Uuid, refuse: bool) -> Result<(), ActionError> {
    let mut tx = begin(db).await?;
    record(&mut tx, action).await?;
    fault::point("mid-body");
    if refuse {
        return Err(ActionError::Refused);
    }
    tx.commit().await?;
    Ok(())
}

#[transactional_message(
    name = "crash.handled",
    exchange = "actions",
    routing_key = "handled",
    check_back = handled_outcome,
    message = Action { action }
)]
async fn handled(db: &SqlitePool, action: Uuid, refuse: bool) -> Result<(), ActionError> {
    fault::point("mid-body");
    if refuse {
        return Err(ActionError::Refused);
    }
    let mut connection = db.acquire().await?;
    record(&mut connection, action).await?;
    Ok(())
}

/// The process that ran the body is dead: what is not there will not come.
async fn handled_outcome(half: HalfMessage<Action>, db: Data<SqlitePool>) -> Result<Outcome, sqlx::Error> {
    let done: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM done WHERE message_id = ?)")
        .bind(half.call_id)
        .fetch_one(&db.0)
        .await?;
    Ok(if done { Outcome::Confirm } else { Outcome::Cancel })
}

async fn record(connection: &mut SqliteConnection, action: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO done (action, message_id) VALUES (?, ?)")
        .bind(action)
        .bind(message_id())
        .execute(connection)
        .await?;
    Ok(())
}

async fn book(tx: &mut SqliteConnection, message: Received<Action>) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO booked (action) VALUES (?)").bind(message.payload.action).execute(tx).await?;
    Ok(())
}

/// Runs until it is killed; or, `quiet`, until everything is settled.
pub(crate) async fn run(directory: &Path, quiet: bool, retention: Duration) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_env_filter("error").with_writer(std::io::stderr).init();
    let business = books::open(directory, "business.db").await?;
    let accounting = books::open(directory, "accounting.db").await?;
    books::create_tables(&business, &accounting).await?;
    let store = format!("sqlite://{}", directory.join("messages.db").display());
    let messenger = Messenger::builder(store)
        .settings(settings(retention))
        .fence("business", &business)
        .data(business.clone())
        .consumer(Consumer::new("booking", accounting, book).bind("actions", "#"))
        .build()
        .await?;
    messenger.migrate().await?;
    messenger.start().await?;
    messenger.install_global()?;
    if quiet {
        return settle(&messenger).await;
    }
    let told = Arc::new(Told::open(directory)?);
    let callers: Vec<_> =
        (0..CALLERS).map(|_| tokio::spawn(call_for_ever(business.clone(), Arc::clone(&told)))).collect();
    for caller in callers {
        caller.await??;
    }
    Ok(())
}

async fn call_for_ever(business: SqlitePool, told: Arc<Told>) -> anyhow::Result<()> {
    loop {
        let action = Uuid::new_v4();
        let refuse = fastrand::u8(..4) == 0;
        let result = if fastrand::bool() {
            fenced(&business, action, refuse).await
        } else {
            handled(&business, action, refuse).await
        };
        match result {
            Ok(()) => told.note(action, true)?,
            Err(ActionError::Refused) => told.note(action, false)?,
            Err(ActionError::Message(error)) if !error.body_ran() => told.note(action, false)?,
            // Nobody can tell this caller whether it took effect.
            Err(_) => {}
        }
    }
}

async fn settle(messenger: &Messenger) -> anyhow::Result<()> {
    loop {
        let stats = messenger.stats().await?;
        anyhow::ensure!(stats.parked == 0 && stats.dead == 0, "messages wait for a person: {stats:?}");
        if stats.half == 0 && stats.confirmed == 0 {
            messenger.shutdown(Duration::from_secs(10)).await;
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Fast, so that a thousand kills take minutes.
fn settings(retention: Duration) -> Settings {
    let millis = Duration::from_millis;
    Settings {
        lease: millis(500),
        check_after: millis(100),
        check_back_backoff: Backoff::new(millis(20), millis(200)),
        delivery_backoff: Backoff::new(millis(20), millis(200)),
        // Unlimited in effect: what waits for a person here is a bug.
        check_back_attempts: 100_000,
        delivery_attempts: 100_000,
        poll_interval: millis(20),
        check_back_horizon: retention * 9 / 10,
        retention,
        janitor_interval: millis(100),
        ..Settings::default()
    }
}
