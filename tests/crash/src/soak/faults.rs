//! What happens to the service, one after the other, with time to recover in between.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum;
use services::Server;
use tokio::time::sleep;

use super::live;
use super::servers::Servers;
use crate::place::Place;
use crate::process::Service;

/// Between two faults, in milliseconds. A service may pause this long before it connects again.
const QUIET: std::ops::Range<u64> = 10_000..20_000;
/// How long the database stands still, in milliseconds: up to two leases.
const DATABASE_PAUSE: std::ops::Range<u64> = 100..1_000;
/// How long the broker is of no use, in milliseconds.
const BROKER_PAUSE: std::ops::Range<u64> = 1_000..6_000;
/// How long a killed server stays away, in milliseconds.
const AWAY: std::ops::Range<u64> = 0..3_000;

/// How often a server may fail to start in time: a machine may be busy.
const STARTS: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    DatabaseKilled,
    DatabasePaused,
    BrokerKilled,
    BrokerPaused,
    MemoryAlarm,
    NeighbourKilled,
}

impl Kind {
    pub(super) const ALL: [Self; 6] = [
        Self::DatabaseKilled,
        Self::DatabasePaused,
        Self::BrokerKilled,
        Self::BrokerPaused,
        Self::MemoryAlarm,
        Self::NeighbourKilled,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::DatabaseKilled => "database killed",
            Self::DatabasePaused => "database paused",
            Self::BrokerKilled => "broker killed",
            Self::BrokerPaused => "broker paused",
            Self::MemoryAlarm => "memory alarm",
            Self::NeighbourKilled => "neighbour killed",
        }
    }
}

/// A fault that is over. Times are those since the soak began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) began: Duration,
    pub(super) ended: Duration,
}

/// Everything that happens.
#[derive(Debug)]
pub(super) struct Faults<'a> {
    servers: &'a Servers,
    place: &'a Place,
    /// Another service, at work on the same tables.
    neighbour: Service,
    kinds: Vec<Kind>,
    random: fastrand::Rng,
    began: Instant,
    past: Vec<Fault>,
}

impl<'a> Faults<'a> {
    pub(super) fn new(
        servers: &'a Servers,
        place: &'a Place,
        seed: u64,
        began: Instant,
        without: &[Kind],
    ) -> anyhow::Result<Self> {
        let mut kinds = Kind::ALL.to_vec();
        kinds.retain(|kind| !without.contains(kind));
        if servers.database.is_none() {
            kinds.retain(|kind| !matches!(kind, Kind::DatabaseKilled | Kind::DatabasePaused));
        }
        let mut random = fastrand::Rng::with_seed(seed);
        let neighbour = live(place, random.u64(..))?;
        Ok(Self { servers, place, neighbour, kinds, random, began, past: Vec::new() })
    }

    /// One fault after the other: each kind once in every round, in any order.
    #[expect(clippy::print_stdout, reason = "how far it is")]
    pub(super) async fn strike_until(&mut self, end: Instant) -> anyhow::Result<()> {
        let mut round = Vec::new();
        loop {
            let quiet = self.draw(QUIET);
            if Instant::now() + quiet >= end {
                sleep(end.saturating_duration_since(Instant::now())).await;
                return Ok(());
            }
            sleep(quiet).await;
            // A service that finds no database when it starts gives up.
            if self.neighbour.has_ended()? {
                self.neighbour = live(self.place, self.random.u64(..))?;
            }
            if round.is_empty() {
                round.clone_from(&self.kinds);
                self.random.shuffle(&mut round);
            }
            let kind = round.pop().context("no faults are left")?;
            let began = self.began.elapsed();
            self.strike(kind).await.with_context(|| kind.name())?;
            let ended = self.began.elapsed();
            self.past.push(Fault { kind, began, ended });
            println!(
                "{:>7.1} s: {}, {:.1} s",
                began.as_secs_f64(),
                kind.name(),
                ended.saturating_sub(began).as_secs_f64()
            );
        }
    }

    /// Ends the other service, and tells what happened.
    pub(super) async fn end(mut self) -> anyhow::Result<Vec<Fault>> {
        self.neighbour.kill().await?;
        Ok(self.past)
    }

    async fn strike(&mut self, kind: Kind) -> anyhow::Result<()> {
        let (away, pause) = (self.draw(AWAY), self.draw(BROKER_PAUSE));
        let Servers { database, broker } = self.servers;
        match (kind, database) {
            (Kind::DatabaseKilled, Some(database)) => {
                database.kill()?;
                sleep(away).await;
                start_again(database).await?;
            }
            (Kind::DatabasePaused, Some(database)) => {
                database.pause()?;
                sleep(self.draw(DATABASE_PAUSE)).await;
                database.resume()?;
            }
            (Kind::BrokerKilled, _) => {
                broker.kill()?;
                sleep(away).await;
                start_again(broker).await?;
            }
            (Kind::BrokerPaused, _) => {
                broker.pause()?;
                sleep(pause).await;
                broker.resume()?;
            }
            (Kind::MemoryAlarm, _) => {
                broker.alarm(true).await?;
                sleep(pause).await;
                broker.alarm(false).await?;
            }
            (Kind::NeighbourKilled, _) => {
                self.neighbour.kill().await?;
                sleep(away).await;
                self.neighbour = live(self.place, self.random.u64(..))?;
            }
            (Kind::DatabaseKilled | Kind::DatabasePaused, None) => {
                anyhow::bail!("there is no database server")
            }
        }
        Ok(())
    }

    fn draw(&mut self, millis: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.u64(millis))
    }
}

async fn start_again(server: &Server) -> anyhow::Result<()> {
    for _ in 1..STARTS {
        if server.start_again().await.is_ok() {
            return Ok(());
        }
    }
    server.start_again().await
}
