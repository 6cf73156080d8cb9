//! `sqlite`: `send` and `pipeline` on the embedded default, on a real disk, everything in one file.
//!
//! The goal is about the store: a body that writes to the same file adds a commit to every call,
//! whatever the store does. So it compares calls with an empty body, and those with one row are there to
//! be seen.

use std::sync::Arc;

use sqlx::{Sqlite, SqliteConnection};
use transactional_message::{Consumer, Received};

use super::pipeline;
use crate::contestants::couriers::Courier;
use crate::contestants::ours::{Empty, Fence, Handler, Ours};
use crate::contestants::{Contestant, by_hand};
use crate::measure::{self, Numbers};
use crate::options::{Database, Options};
use crate::report::Report;
use crate::shop::Payment;
use crate::world::{Open, World};

const CALLERS: [usize; 2] = [1, 64];

pub(crate) async fn run(world: &World, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let mut senders: Vec<(&str, Arc<dyn Contestant>)> = Vec::new();
    for name in ["bare", "outbox", "unbatched", "handler", "fence", "unbatched-empty", "handler-empty"] {
        if options.wants(name) {
            senders.push((name, sender(world, name).await?));
        }
    }
    let delivering = delivering(world).await?;
    let (time, cpu) = (options.time(2.0, 0.1), world.cpu());
    for repetition in 1..=options.repetitions(5) {
        for callers in options.callers(&CALLERS) {
            for (name, sender) in &senders {
                let numbers = measure::load(sender, callers, time, &cpu).await?;
                report.measured(name, Database::Sqlite.name(), callers, numbers);
                report.progress(&format!("{repetition}. {name}"));
            }
            if options.wants(DELIVERED) {
                let numbers = pipeline::measure_one(&delivering, callers, time, &cpu).await?;
                report.measured(DELIVERED, Database::Sqlite.name(), callers, numbers);
            }
        }
    }
    for (_, sender) in &senders {
        sender.close().await;
    }
    delivering.close().await;
    let rate = |numbers: Numbers| numbers.per_second;
    report.at_least(
        "64 callers: handler-empty rate",
        10.0,
        ("handler-empty", 64),
        ("unbatched-empty", 64),
        rate,
    );
    Ok(())
}

/// Calls until a consumer in the process has booked their messages.
const DELIVERED: &str = "delivered";

async fn sender(world: &World, name: &str) -> anyhow::Result<Arc<dyn Contestant>> {
    let place = Sqlite::open(world, name).await?;
    Ok(match name {
        "bare" => Arc::new(by_hand::Bare(place)),
        "outbox" => Arc::new(by_hand::Outbox(place)),
        "unbatched" => Arc::new(by_hand::Unbatched { place, empty: false }),
        "unbatched-empty" => Arc::new(by_hand::Unbatched { place, empty: true }),
        "handler" => Arc::new(Handler(Ours::quiet(place).await?)),
        "handler-empty" => Arc::new(Empty(Ours::quiet(place).await?)),
        _ => Arc::new(Fence(Ours::quiet(place).await?)),
    })
}

async fn delivering(world: &World) -> anyhow::Result<Arc<dyn Courier>> {
    let place = Sqlite::open(world, DELIVERED).await?;
    let table = "CREATE TABLE voucher (payment_id BLOB PRIMARY KEY, amount_cents INTEGER NOT NULL) STRICT";
    sqlx::raw_sql(table).execute(&place.pool).await?;
    let consumer = Consumer::new("books", place.pool.clone(), book).bind(crate::EXCHANGE, "#");
    Ok(Arc::new(Handler(Ours::open(place, |builder| builder.consumer(consumer)).await?)))
}

async fn book(tx: &mut SqliteConnection, message: Received<Payment>) -> Result<(), sqlx::Error> {
    let query = sqlx::query("INSERT INTO voucher (payment_id, amount_cents) VALUES (?, ?)");
    query.bind(message.payload.payment_id).bind(message.payload.amount_cents).execute(tx).await?;
    Ok(())
}
