//! How the service is doing: messages, readiness, metrics.

use axum::{Json, extract};
use serde::Serialize;
use transactional_message::Stats;

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

/// What the library measures, as Prometheus reads it. Asks no database: the library has looked there.
pub(super) async fn render_metrics(extract::State(state): Shared) -> String {
    state.metrics.render()
}
