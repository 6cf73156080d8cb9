//! What this crate measures: the names, labels and meanings of its metrics.
//!
//! They go to the facade [`metrics`], so the application chooses what listens. Install the recorder before
//! [`Messenger::start`](crate::Messenger::start): from then on the metrics have their descriptions, and every counter whose
//! labels are known is there, at 0. Without a recorder they cost next to nothing.
//!
//! All names begin with `transactional_message_`. Labels are bounded: functions, handlers and fences are named in code;
//! of exchanges, and of consumers' queues, a process tells 50 apart; the rest is counted as `other`, and has no gauges. Nothing is
//! labelled with an id, a key or the text of an error. What is said of the store is the same in each process over it: take the maximum, not the sum. Several
//! messengers in one process share the metrics: the gauges are those of the one that looked last.
//!
//! Exporters need to be told the bounds of histograms, or they make summaries of them. With `metrics-exporter-prometheus`:
//!
//! ```no_run
//! # fn f() -> Result<(), metrics_exporter_prometheus::BuildError> {
//! use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
//!
//! let mut builder = PrometheusBuilder::new();
//! for (name, bounds) in transactional_message::telemetry::buckets() {
//!     builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)?;
//! }
//! # Ok(())
//! # }
//! ```

pub(crate) mod catalogue;
pub(crate) mod context;
mod family;
pub(crate) mod labels;
mod metric;
pub(crate) mod spans;

pub(crate) use family::Handles;
pub use metric::{Kind, Metric, Unit};

/// All metrics of this crate.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    catalogue::ALL.iter().map(|family| family.metric()).chain([&catalogue::BUILD_INFO])
}

/// The histograms, each with the upper bounds of its buckets.
pub fn buckets() -> impl Iterator<Item = (&'static str, &'static [f64])> {
    all().filter(|metric| metric.kind == Kind::Histogram).map(|metric| (metric.name, metric.bounds))
}

/// Begins to measure, with the recorder that is installed now.
pub(crate) fn start(store: &'static str, transport: &'static str) {
    all().for_each(Metric::describe);
    for family in catalogue::ALL {
        family.begin_anew();
    }
    for via in ["cli", "code", "console"] {
        catalogue::DECISIONS.of(via);
    }
    let version = env!("CARGO_PKG_VERSION");
    metrics::gauge!(catalogue::BUILD_INFO.name, "version" => version, "store" => store, "transport" => transport)
        .set(1.0);
}

/// A count as a gauge has it.
#[expect(clippy::cast_precision_loss, reason = "a gauge is no ledger")]
pub(crate) const fn count(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
