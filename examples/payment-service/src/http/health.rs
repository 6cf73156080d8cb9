//! How the service is doing: messages, readiness, metrics.

use std::time::Duration;

use axum::{Json, extract};
use serde::Serialize;
use transactional_message::{MessageState, Stats};

use super::State;
use super::failure::Failure;

type Shared = extract::State<State>;

/// Counts by state, and the age of the oldest unfinished message.
#[derive(Serialize)]
pub(super) struct Messages {
    half: u64,
    confirmed: u64,
    cancelled: u64,
    delivered: u64,
    parked: u64,
    dead: u64,
    oldest_unfinished_seconds: Option<f64>,
}

impl From<Stats> for Messages {
    fn from(stats: Stats) -> Self {
        Self {
            half: stats.half,
            confirmed: stats.confirmed,
            cancelled: stats.cancelled,
            delivered: stats.delivered,
            parked: stats.parked,
            dead: stats.dead,
            oldest_unfinished_seconds: stats.oldest_unfinished.map(|age| age.as_secs_f64()),
        }
    }
}

pub(super) async fn count_messages(extract::State(state): Shared) -> Result<Json<Messages>, Failure> {
    Ok(Json(state.messenger.stats().await?.into()))
}

pub(super) async fn ready(extract::State(state): Shared) -> Result<&'static str, Failure> {
    state.messenger.unfinished().await?;
    Ok("ready")
}

/// What is worth an alert. Asked for every few seconds, so it counts no finished messages: those may be millions.
pub(super) async fn render_metrics(extract::State(state): Shared) -> Result<String, Failure> {
    let counts = state.messenger.unfinished().await?;
    let by_state = [
        (MessageState::Half, counts.half),
        (MessageState::Confirmed, counts.confirmed),
        (MessageState::Parked, counts.parked),
        (MessageState::Dead, counts.dead),
    ];
    for (message_state, count) in by_state {
        metrics::gauge!("transactional_message_messages", "state" => message_state.name())
            .set(approximate(count));
    }
    let oldest = counts.oldest.unwrap_or(Duration::ZERO);
    metrics::gauge!("transactional_message_oldest_unfinished_seconds").set(oldest.as_secs_f64());
    Ok(state.metrics.render())
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is no ledger")]
fn approximate(count: u64) -> f64 {
    count as f64
}
