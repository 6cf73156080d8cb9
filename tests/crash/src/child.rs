//! The process to be killed: a service with callers, a consumer, and the messenger between them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use transactional_message::fault::{self, Fault};
use transactional_message::{Backoff, Messenger, Settings};
use uuid::Uuid;

use crate::broker::RETRY_DELAYS;
use crate::caller_log::{self, CallerLog};
use crate::database::{Database, with_pool};
use crate::place::Place;
use crate::service::{self, Call, Shop};

/// How often it looks whether everything is settled.
const LOOK: Duration = Duration::from_millis(20);
/// Callers pause, in milliseconds, and on a slow machine longer than their calls took: they are to be killed over their
/// work, not over a backlog.
const LONGEST_PAUSE: u64 = 50;
const PAUSE_PER_CALL: u32 = 3;
/// In effect without a limit: what waits for an operator here is a bug.
const ATTEMPTS: u32 = 100_000;

/// What the service does in this life.
#[derive(Clone, Debug, Args)]
pub(crate) struct Life {
    /// Makes no calls, and ends when everything is settled.
    #[arg(long)]
    pub(crate) quiet: bool,
    /// What happens to it, one after the other.
    #[arg(long)]
    pub(crate) fault: Vec<Fault>,
    /// Nothing happens to it before everything is settled that a dead process has left.
    #[arg(long)]
    pub(crate) recover: bool,
    /// How often a check-back handler is asked.
    #[arg(long, default_value_t = ATTEMPTS)]
    pub(crate) check_back_attempts: u32,
    /// How long a check-back handler may take, in seconds.
    #[arg(long)]
    pub(crate) handler_timeout: Option<u64>,
    /// How long finished messages are kept, in seconds.
    #[arg(long, default_value_t = 7200)]
    pub(crate) retention: u64,
    /// Calls made at once.
    #[arg(long, default_value_t = 8)]
    pub(crate) callers: u64,
    /// Some bodies take longer than a lease, and some panic.
    #[arg(long)]
    pub(crate) rough: bool,
    /// What is called is drawn from this.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

/// Runs until it is killed; or, `quiet`, until everything is settled.
pub(crate) async fn run(directory: &Path, life: Life) -> anyhow::Result<()> {
    let began = Instant::now();
    let filter = "error,transactional_message=warn,transactional_message::consumer::inbox=debug";
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    let place = Place::find(directory)?;
    let (business, accounting, store) =
        tokio::try_join!(place.business(), place.accounting(), place.store())?;
    if !life.recover {
        fault::arm(life.fault.clone());
    }
    let fast = settings(Duration::from_secs(life.retention));
    let settings = fast
        .check_back_attempts(life.check_back_attempts)
        .handler_timeout(life.handler_timeout.map_or(fast.handler_timeout, Duration::from_secs));
    let messenger = start(&place, &business, &accounting, &settings, "#").await?;
    let left = Uuid::now_v7();
    if life.quiet {
        recovered(&store, left, &place, began).await?;
        return settle(&messenger, &place).await;
    }
    let shop = Shop { db: business, exchange: place.exchange() };
    let told = Arc::new(CallerLog::open(directory)?);
    let draw = if life.rough { Call::draw_rough } else { Call::draw };
    let call_for_ever = |caller| {
        let (shop, told) = (shop.clone(), Arc::clone(&told));
        let mut random = fastrand::Rng::with_seed(life.seed.wrapping_add(caller));
        tokio::spawn(async move {
            loop {
                let began = Instant::now();
                draw(&mut random).make(&shop, &told).await?;
                let pause = Duration::from_millis(random.u64(..LONGEST_PAUSE));
                tokio::time::sleep(pause.max(began.elapsed() * PAUSE_PER_CALL)).await;
            }
        })
    };
    let callers: Vec<tokio::task::JoinHandle<anyhow::Result<()>>> =
        (0..life.callers).map(call_for_ever).collect();
    recovered(&store, left, &place, began).await?;
    if life.recover {
        fault::arm(life.fault);
    }
    for caller in callers {
        caller.await??;
    }
    Ok(())
}

/// A running messenger whose consumer takes what `pattern` says.
pub(crate) async fn start(
    place: &Place,
    business: &Database,
    accounting: &Database,
    settings: &Settings,
    pattern: &str,
) -> anyhow::Result<Messenger> {
    let consumer = service::consumer(&place.exchange(), accounting)
        .bind(place.exchange(), pattern)
        .max_attempts(ATTEMPTS)
        .retry_delays([RETRY_DELAYS]);
    let store = place.store().await?;
    let mut builder = Messenger::builder(&store)
        .settings(*settings)
        .fence("business", business)
        .data(business.clone())
        .consumer(consumer);
    if let Some(broker) = &place.broker {
        builder = builder.rabbitmq(broker.settings());
    }
    let messenger = builder.build().await?;
    messenger.migrate().await?;
    messenger.start().await?;
    messenger.install_global()?;
    Ok(messenger)
}

/// Waits until no message that is older than `left` is undecided or on its way, and notes how long
/// that took if there was one.
async fn recovered(store: &Database, left: Uuid, place: &Place, began: Instant) -> anyhow::Result<()> {
    let mut any = false;
    loop {
        let select = store.sql("SELECT count(*) FROM tm_message WHERE state IN (0, 1) AND id < ?");
        let count: i64 =
            with_pool!(store, pool => sqlx::query_scalar(select).bind(left).fetch_one(pool).await?);
        if count == 0 {
            return if any { caller_log::recovered(&place.directory, began.elapsed()) } else { Ok(()) };
        }
        any = true;
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until every message is finished, also in the broker, and ends.
async fn settle(messenger: &Messenger, place: &Place) -> anyhow::Result<()> {
    settled(messenger, place).await?;
    // What the consumer has taken is finished.
    anyhow::ensure!(messenger.shutdown(Duration::from_secs(30)).await, "the service did not end in time");
    Ok(())
}

/// Waits until no message is undecided or on its way.
pub(crate) async fn settled(messenger: &Messenger, place: &Place) -> anyhow::Result<()> {
    loop {
        let stats = messenger.stats().await?;
        if stats.half == 0 && stats.confirmed == 0 {
            let Some(broker) = &place.broker else { return Ok(()) };
            if broker.waiting().await? == 0 {
                return Ok(());
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Fast, so that a thousand kills take minutes.
pub(crate) fn settings(retention: Duration) -> Settings {
    let millis = Duration::from_millis;
    Settings::default()
        .lease(millis(500))
        .check_after(millis(100))
        .handler_timeout(millis(500))
        .check_back_backoff(Backoff::new(millis(20), millis(200)))
        .delivery_backoff(Backoff::new(millis(20), millis(200)))
        .check_back_attempts(ATTEMPTS)
        .delivery_attempts(ATTEMPTS)
        // Shorter than what comes at once: some messages go by way of the table.
        .relay_queue(2)
        .poll_interval(millis(20))
        .check_back_horizon(retention * 9 / 10)
        .retention(retention)
        .janitor_interval(millis(100))
}
