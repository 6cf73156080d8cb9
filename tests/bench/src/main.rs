//! The benchmark: what transactional-message costs, beside what people use instead.
//!
//! `cargo run --release --manifest-path tests/bench/Cargo.toml -- <scenario>`; `--help` says more.

mod broker;
mod child;
mod contestants;
mod cpu;
mod distance;
mod measure;
mod options;
mod report;
mod scenarios;
mod shop;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use options::{Database, Options, Scenario};
use report::Report;
use world::{Open, World};

/// Where all messages go.
const EXCHANGE: &str = "bench";
const ROUTING_KEY: &str = "payment.completed";

/// What `--rtt` adds to every round trip to the database.
const DISTANCE: Duration = Duration::from_micros(500);

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_env_filter("warn,sqlx=error,lapin=off")
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    if let Some(role) = child::role() {
        child::run(role?).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options::parse();
    match options.scenario {
        Scenario::All => return report::run_all(&options),
        Scenario::Report => {
            if options.check { report::check() } else { report::write_page() }?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    if !options.quick {
        services::keep_on_disk();
    }
    let world = World::new(options.rtt.then_some(DISTANCE));
    let mut report = Report::new(&options, servers(&world, &options).await?)?;
    match options.scenario {
        Scenario::All | Scenario::Report => unreachable!("was done above"),
        Scenario::Send => scenarios::send::run(&world, &options, &mut report).await?,
        Scenario::Many => scenarios::many::run(&world, &options, &mut report).await?,
        Scenario::Import => scenarios::import::run(&world, &options, &mut report).await?,
        Scenario::Delayed => scenarios::delayed::run(&world, &options, &mut report).await?,
        Scenario::Consume => scenarios::consume::run(&world, &options, &mut report).await?,
        Scenario::Pipeline => scenarios::pipeline::run(&world, &options, &mut report).await?,
        Scenario::Backlog => scenarios::backlog::run(&world, &options, &mut report).await?,
        Scenario::Orphans => scenarios::orphans::run(&world, &options, &mut report).await?,
        Scenario::Compile => scenarios::compile::run(&options, &mut report)?,
        Scenario::Instances => scenarios::instances::run(&world, &options, &mut report).await?,
        Scenario::Recovery => scenarios::recovery::run(&world, &options, &mut report).await?,
        Scenario::Sqlite => scenarios::sqlite::run(&world, &options, &mut report).await?,
        Scenario::Kept => scenarios::kept::run(&world, &options, &mut report).await?,
        Scenario::Latency => scenarios::latency::run(&world, &options, &mut report).await?,
    }
    Ok(if report.finish()? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The versions of the servers that take part.
async fn servers(world: &World, options: &Options) -> anyhow::Result<String> {
    let mut versions = Vec::new();
    if options.scenario.needs_rabbitmq() {
        let version = world.rabbitmq().await?.ctl(["version"]).await?;
        versions.push(format!("RabbitMQ {}", version.trim()));
    }
    if options.wants_database(Database::Postgres) {
        versions.push(sqlx::Postgres::version(world).await?);
    }
    if options.wants_database(Database::Mysql) {
        versions.push(sqlx::MySql::version(world).await?);
    }
    if options.wants_database(Database::Sqlite) {
        versions.push(sqlx::Sqlite::version(world).await?);
    }
    Ok(versions.join(", "))
}
