//! Paying an order sends an accounting voucher: if, and only if, the order was paid.
//!
//! Two sides in one process: *payments* takes orders over HTTP and sends a message for each that
//! was paid; *accounting* receives the messages and books vouchers.

mod accounting;
mod config;
mod database;
mod http;
mod metrics;
mod payments;
mod traces;

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use transactional_message::{ExchangeKind, Messenger, RabbitMq, Settings};

use config::{Config, Side};
use database::Database;

/// How long a shutdown may take.
const SHUTDOWN: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let traces =
        config.otlp_endpoint.as_deref().map(|endpoint| traces::export(endpoint, &config.service_name));
    let traces = traces.transpose()?;
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // One for log and traces: with one for each, sqlx's question whether anybody wants a statement logged makes the next span
    // be lost (tokio-rs/tracing#2519).
    let filter = EnvFilter::try_new(&config.log).context("what goes into the log (--log, RUST_LOG)")?;
    tracing_subscriber::registry().with(filter).with(log).with(traces.as_ref().map(traces::layer)).init();
    let metrics = metrics::record()?;

    // Of a side that does not run here, nothing is asked for: the other's database stands in.
    let (payments, accounting) = if !config.runs(Side::Accounting) {
        let payments = open_payments(&config).await?;
        (payments.clone(), payments)
    } else if !config.sends() {
        let accounting = open_accounting(&config).await?;
        (accounting.clone(), accounting)
    } else {
        (open_payments(&config).await?, open_accounting(&config).await?)
    };

    let messenger = messenger(&config, &payments, &accounting).await?;
    messenger.migrate().await?;
    messenger.start().await?;
    messenger.install_global()?;

    let state = http::State { payments, accounting, messenger: messenger.clone(), metrics };
    let left = http::serve(&config, state, SHUTDOWN).await?;

    if !messenger.shutdown(left).await {
        tracing::warn!("not everything was done in time; the next start goes on with it");
    }
    if let Some(traces) = traces {
        // All work is done by then: a collector that hangs makes no failure of it.
        if let Err(error) = tokio::task::spawn_blocking(move || traces.shutdown()).await? {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
    Ok(())
}

async fn open_payments(config: &Config) -> anyhow::Result<Database> {
    let database = Database::open(&config.database_url)
        .await
        .context("the payments' database (--database-url, DATABASE_URL)")?;
    payments::create_tables(&database).await?;
    Ok(database)
}

async fn open_accounting(config: &Config) -> anyhow::Result<Database> {
    let database = Database::open(config.accounting_database_url())
        .await
        .context("accounting's database (--accounting-database-url, ACCOUNTING_DATABASE_URL)")?;
    accounting::create_tables(&database).await?;
    Ok(database)
}

/// Stores messages beside the payments, and delivers them through RabbitMQ, or within the process
/// where accounting is.
async fn messenger(
    config: &Config,
    payments: &Database,
    accounting: &Database,
) -> Result<Messenger, transactional_message::Error> {
    let by_broker = config.amqp_url.is_some();
    let settings = Settings::default().deliver(by_broker || config.runs(Side::Accounting));
    let mut builder = Messenger::builder(payments).settings(settings);
    if config.sends() {
        builder = builder.fence("payments", payments);
    }
    if let Some(url) = &config.amqp_url {
        let rabbitmq = RabbitMq::new(url).exchange("payments", ExchangeKind::Topic).app_id("payment-service");
        builder = builder.rabbitmq(rabbitmq);
    }
    if config.runs(Side::Accounting) {
        builder = builder.consumer(accounting::consumer(accounting));
    }
    builder.build().await
}
