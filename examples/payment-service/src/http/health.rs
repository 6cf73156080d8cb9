//! How the service is doing: messages, readiness, metrics.

use std::time::Duration;

use axum::{Json, extract};
use serde::Serialize;
use transactional_message::{State as MessageState, Stats};

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
    state.messenger.stats().await?;
    Ok("ready")
}

pub(super) async fn render_metrics(extract::State(state): Shared) -> Result<String, Failure> {
    let counts = state.messenger.stats().await?;
    for message_state in MessageState::ALL {
        metrics::gauge!("transactional_message_messages", "state" => message_state.name())
            .set(approximate(counts.count(message_state)));
    }
    let oldest = counts.oldest_unfinished.unwrap_or(Duration::ZERO);
    metrics::gauge!("transactional_message_oldest_unfinished_seconds").set(oldest.as_secs_f64());
    Ok(state.metrics.render())
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is no ledger")]
fn approximate(count: u64) -> f64 {
    count as f64
}
