//! What is to be known of a metric.

/// One of this crate's metrics.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Metric {
    /// With the prefix `transactional_message_`.
    pub name: &'static str,
    /// What kind it is.
    pub kind: Kind,
    /// What it is measured in.
    pub unit: Unit,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
    /// The upper bounds of a histogram's buckets.
    pub bounds: &'static [f64],
}

/// The kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Only ever grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// What metrics are measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Messages, calls, rows.
    Count,
    /// Time.
    Seconds,
}

impl Metric {
    pub(super) const fn new(
        kind: Kind,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind, unit: Unit::Count, labels, help, bounds: &[] }
    }

    pub(super) const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self::new(Kind::Counter, name, labels, help)
    }

    pub(super) const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self::new(Kind::Gauge, name, labels, help)
    }

    pub(super) const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        bounds: &'static [f64],
        help: &'static str,
    ) -> Self {
        Self { bounds, ..Self::new(Kind::Histogram, name, labels, help) }
    }

    /// The same in seconds.
    pub(super) const fn seconds(self) -> Self {
        Self { unit: Unit::Seconds, ..self }
    }

    pub(super) fn describe(&self) {
        let Self { name, help, .. } = *self;
        let unit = match self.unit {
            Unit::Count => metrics::Unit::Count,
            Unit::Seconds => metrics::Unit::Seconds,
        };
        match self.kind {
            Kind::Counter => metrics::describe_counter!(name, unit, help),
            Kind::Gauge => metrics::describe_gauge!(name, unit, help),
            Kind::Histogram => metrics::describe_histogram!(name, unit, help),
        }
    }
}
