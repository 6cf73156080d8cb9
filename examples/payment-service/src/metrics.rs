//! The recorder of metrics: before the messenger starts, so that it hears everything.

use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use transactional_message::telemetry;

/// How often the recorder tidies up: without that, its histograms would grow without end.
const UPKEEP: Duration = Duration::from_secs(5);

/// Records from now on. Histograms without bounds would become summaries, of which no quantile of several processes can be
/// made.
pub(crate) fn record() -> anyhow::Result<PrometheusHandle> {
    let mut builder = PrometheusBuilder::new();
    for (name, bounds) in telemetry::buckets() {
        builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)?;
    }
    let handle = builder.install_recorder().context("the recorder of metrics")?;
    let tidied = handle.clone();
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(UPKEEP);
        loop {
            tick.tick().await;
            tidied.run_upkeep();
        }
    });
    Ok(handle)
}
