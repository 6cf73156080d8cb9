//! Directed scenarios, for what dying alone does not show.

mod ambiguous_commit;
mod cut_off;
mod deadlock;
mod deadly_question;
pub(crate) mod killer;
mod lost_half;
mod lost_reply;
mod returned;

use std::time::{Duration, Instant};

use clap::ValueEnum;

use transactional_message::{Backoff, Messenger};

use crate::child;
use crate::database::Kind;
use crate::place::{Place, StoreIn};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// The connection is cut at every byte of `COMMIT` and of its reply; on SQLite, which has none, the
    /// reply is lost.
    AmbiguousCommit,
    /// The store does not answer in the middle of an operation. On MySQL.
    CutOff,
    /// A message kills its process, again and again, with others in hand. Within the process.
    Killer,
    /// The same over RabbitMQ.
    #[value(name = "killer-over-rabbitmq")]
    KillerOverRabbitMq,
    /// Bodies ignore that the database rolled their transaction back, and go on writing. On MySQL.
    Deadlock,
    /// A question kills the process whose handler is asked it, again and again.
    DeadlyQuestion,
    /// The store is away as a call ends, and comes back without its half.
    LostHalf,
    /// Messages that RabbitMQ returns, among others. On SQLite.
    Returned,
}

/// Plays a scenario. What it found wrong is an error.
pub(crate) async fn play(scenario: Scenario, kind: Kind, discard: bool) -> anyhow::Result<()> {
    let place = Place::create(
        kind,
        matches!(scenario, Scenario::Returned | Scenario::KillerOverRabbitMq),
        StoreIn::Own,
    )
    .await?;
    let played = match scenario {
        Scenario::AmbiguousCommit if kind == Kind::Sqlite => lost_reply::play(&place).await,
        Scenario::AmbiguousCommit => ambiguous_commit::play(&place).await,
        Scenario::CutOff => cut_off::play(&place).await,
        Scenario::Killer | Scenario::KillerOverRabbitMq => killer::play(&place).await,
        Scenario::Deadlock => deadlock::play(&place).await,
        Scenario::DeadlyQuestion => deadly_question::play(&place).await,
        Scenario::LostHalf => lost_half::play(&place).await,
        Scenario::Returned => returned::play(&place).await,
    };
    place.conclude(played, discard).await
}

/// A running messenger whose consumer takes what `pattern` says.
async fn messenger(place: &Place, pattern: &str) -> anyhow::Result<Messenger> {
    let (business, accounting) = tokio::try_join!(place.business(), place.accounting())?;
    // A thousand messages without a queue, each tried five times a second, leave a machine no time for calls.
    let delivery_backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));
    let settings =
        child::settings(Duration::from_hours(2)).delivery_backoff(delivery_backoff).half_timeout(PATIENCE);
    child::start(place, &business, &accounting, &settings, pattern).await
}

/// Waits until `condition` holds.
async fn wait(what: &str, mut condition: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let began = Instant::now();
    while !condition().await? {
        anyhow::ensure!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
