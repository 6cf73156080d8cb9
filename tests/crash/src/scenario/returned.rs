//! Messages that no queue takes, among others: RabbitMQ returns them, and acknowledges them. Only
//! the others may count as delivered.

use transactional_message::{AnsweredBy, Message, State};

use super::{messenger, wait};
use crate::place::Place;
use crate::service::{ActionError, Call, HANDLER};

/// What the queue takes.
const ROUTED: &str = "routed";
const COUNT: u64 = 400;

pub(super) async fn play(place: &Place) -> anyhow::Result<()> {
    let messenger = messenger(place, ROUTED).await?;
    let mut random = fastrand::Rng::with_seed(0);
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..COUNT {
        let routing_key = if number % 2 == 0 { ROUTED } else { "nowhere" };
        let message = Message::json(place.exchange(), routing_key, &Call::plain(&mut random).message(0))?;
        let messenger = messenger.clone();
        calls.spawn(async move {
            let body = async { Ok::<_, ActionError>(()) };
            messenger.call(AnsweredBy::Handler(HANDLER.into()), [message], body).await
        });
    }
    while let Some(called) = calls.join_next().await {
        called??;
    }
    let half = COUNT / 2;
    wait("every message to be tried", async || {
        let waiting = messenger.list(State::Confirmed, None, u32::MAX >> 1).await?;
        let delivered = messenger.stats().await?.delivered;
        Ok(delivered >= half
            && delivered + waiting.iter().filter(|one| one.attempts > 0).count() as u64 == COUNT)
    })
    .await?;
    for message in messenger.list(State::Delivered, None, u32::MAX >> 1).await? {
        anyhow::ensure!(
            message.routing_key == ROUTED,
            "message {} was returned by RabbitMQ, and counts as delivered",
            message.id
        );
    }
    Ok(())
}
