//! Pays an order in a transaction of another client, and dies at a moment of choice.

mod diesel;
mod moment;
mod sea_orm;
mod sqlx;
mod tokio_postgres;

use std::time::Duration;

use clap::{Parser, ValueEnum};
use moment::Moment;
use serde::Serialize;
use transactional_message::Messenger;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The message.
#[derive(Serialize)]
struct Paid {
    order: i64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Client {
    Diesel,
    SeaOrm,
    Sqlx,
    TokioPostgres,
}

#[derive(Parser)]
struct Options {
    client: Client,
    /// Dies there.
    moment: Moment,
    order: i64,
    /// The database, with the fence and the message store.
    url: String,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let Options { client, moment, order, url } = Options::parse();
    let messenger = Messenger::builder(url.as_str()).fence("shop", url.as_str()).build().await?;
    messenger.start().await?;
    messenger.install_global()?;
    match client {
        Client::Diesel => diesel::pay_and_commit(&url, order, moment).await,
        Client::SeaOrm => sea_orm::pay_and_commit(&url, order, moment).await,
        Client::Sqlx => sqlx::pay_and_commit(&url, order, moment).await,
        Client::TokioPostgres => tokio_postgres::pay_and_commit(&url, order, moment).await,
    }?;
    messenger.shutdown(Duration::from_secs(20)).await;
    Ok(())
}
