//! A long life: the service is at work while its database, its broker and its neighbour fail at
//! random. It must not grow, and in the end the books must agree.
//!
//! `cargo run -p crash -- soak --minutes 30 --database postgres`

mod faults;
mod picture;
mod report;
mod sample;
mod servers;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use crate::caller_log;
use crate::database::Kind;
use crate::history;
use crate::place::{Place, StoreIn};
use crate::process::Service;
use crate::supervisor;
use faults::Faults;
use report::Report;
use sample::Sampler;
use servers::Servers;

/// After the last fault, in which everything recovers.
const CALM: Duration = Duration::from_secs(10);

/// A soak as it was asked for. It harms its servers, and therefore starts its own.
#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// How long the service lives.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Where store, business and accounting are. The broker is always RabbitMQ.
    #[arg(long, value_enum)]
    database: Kind,
    /// Which faults there are, and what is called, is drawn from this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// These are left out.
    #[arg(long, value_enum, value_delimiter = ',')]
    without: Vec<faults::Kind>,
    /// Where report, figures and picture are written.
    #[arg(long, default_value = "target/soak")]
    into: PathBuf,
}

/// Soaks. What it found wrong is an error.
pub(crate) async fn run(soak: Soak, discard: bool) -> anyhow::Result<()> {
    let seed = soak.seed.unwrap_or_else(|| fastrand::u64(..));
    fs::create_dir_all(&soak.into).with_context(|| format!("making {}", soak.into.display()))?;
    let servers = Servers::start(soak.database).await?;
    let (database, broker) = servers.urls();
    let place = Place::create_on(soak.database, database, Some(broker), StoreIn::Own).await?;
    let played = play(&soak, seed, &servers, &place).await;
    let played = played.with_context(|| format!("the same again with --seed {seed}"));
    place.conclude(played, discard).await
}

#[expect(clippy::print_stdout, reason = "the report")]
async fn play(soak: &Soak, seed: u64, servers: &Servers, place: &Place) -> anyhow::Result<()> {
    // Creates the tables.
    supervisor::settle(place).await?;
    history::install(&place.store().await?).await?;
    let name = format!("{:?}-{seed}", soak.database).to_lowercase();
    let file = |kind: &str| soak.into.join(&name).with_extension(kind);

    let began = Instant::now();
    let mut watched = live(place, seed)?;
    let mut sampler = Sampler::new(place, began, watched.pid()?, servers.port(), &file("csv")).await?;
    let mut faults = Faults::new(servers, place, seed, began, &soak.without)?;
    let took = Duration::from_mins(soak.minutes);
    let end = began + took;
    tokio::select! {
        done = faults.strike_until(began + took.saturating_sub(CALM)) => done?,
        ended = sampler.run() => return ended,
    }
    let _ = tokio::time::timeout_at(end.into(), sampler.run()).await;
    let faults = faults.end().await?;
    watched.kill().await?;

    let comparison = supervisor::compare(place).await?;
    let title = format!("{:?} + rabbitmq, seed {seed}", soak.database).to_lowercase();
    fs::write(file("svg"), picture::draw(&title, &sampler.samples, &faults)?)?;
    let strangers = caller_log::strangers(&place.directory)?;
    let report = Report { title, took, comparison, strangers, faults, samples: sampler.samples };
    fs::write(file("txt"), report.to_string())?;
    println!("{report}\n{}", file("{csv,svg,txt}").display());
    report.verdict()
}

/// A service with callers that does not end. It keeps what is finished for longer than any fault takes.
fn live(place: &Place, seed: u64) -> anyhow::Result<Service> {
    let seed = format!("--seed={seed}");
    Service::start(place, ["--callers=4", "--retention=300", "--rough", &seed])
}
