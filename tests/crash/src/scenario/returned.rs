//! Messages that no queue takes, among others: RabbitMQ returns them, and acknowledges them. Only
//! the others may count as delivered.

use tokio::task::JoinSet;
use transactional_message::{Message, MessageState, Messenger};

use super::{messenger, wait};
use crate::database::{Database, with_pool};
use crate::place::Place;
use crate::service::{ActionError, Call, HANDLER};

/// What the queue takes.
const ROUTED: &str = "routed";
/// One after the other, each with messages among them that have come back before.
const WAVES: i64 = 6;
const COUNT: i64 = 400;
const EVERY: u32 = 1_000_000;

pub(super) async fn play(place: &Place) -> anyhow::Result<()> {
    let messenger = messenger(place, ROUTED).await?;
    let mut random = fastrand::Rng::with_seed(0);
    let store = place.store().await?;
    for wave in 1..=WAVES {
        call(&messenger, place, &mut random).await?;
        let (all, half) = (wave * COUNT, wave * COUNT / 2);
        wait("every message to be tried", async || {
            let tried =
                count(&store, "SELECT count(*) FROM tm_message WHERE state = 3 OR attempts > 0").await?;
            let delivered = count(&store, "SELECT count(*) FROM tm_message WHERE state = 3").await?;
            Ok(tried == all && delivered >= half)
        })
        .await?;
    }
    for message in messenger.admin().list(MessageState::Delivered, None, EVERY).await? {
        anyhow::ensure!(
            message.routing_key == ROUTED,
            "message {} was returned by RabbitMQ, and counts as delivered",
            message.id
        );
    }
    Ok(())
}

/// The store itself counts: it is asked often, and a list of everything would keep it from working.
async fn count(store: &Database, select: &str) -> anyhow::Result<i64> {
    let select = store.sql(select);
    with_pool!(store, pool => Ok(sqlx::query_scalar(select).fetch_one(pool).await?))
}

/// Half of the messages have no queue.
async fn call(messenger: &Messenger, place: &Place, random: &mut fastrand::Rng) -> anyhow::Result<()> {
    let mut calls = JoinSet::new();
    for number in 0..COUNT {
        let routing_key = if number % 2 == 0 { ROUTED } else { "nowhere" };
        let message = Message::json(place.exchange(), routing_key, &Call::plain(random).message(0))?;
        let messenger = messenger.clone();
        calls.spawn(async move {
            let body = async { Ok::<_, ActionError>(()) };
            messenger
                .call(transactional_message::Call::new(HANDLER).message(message).check_back(HANDLER), body)
                .await
        });
    }
    while let Some(called) = calls.join_next().await {
        called??;
    }
    Ok(())
}
