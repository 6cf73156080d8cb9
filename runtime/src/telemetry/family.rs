//! A metric with its handles: made once for each set of labels, and kept.
//!
//! A metric has a free label, whose values turn up at run time, then a fixed one, whose values are an enum; or one of the two,
//! or none. The handles of all fixed values are made together, when a free value turns up: so a counter is there, at 0, before
//! it counts what has never happened before.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use arc_swap::ArcSwap;
use metrics::{Counter, Gauge, Histogram, Label};

use super::labels::Values;
use super::metric::Metric;

/// Values of a free label that a process tells apart. A consumer has two queues: its own, and that of its dead letters.
const MOST_EXCHANGES: usize = 50;
const MOST_QUEUES: usize = 2 * 50;
const MOST_NAMES: usize = 200;
/// What all others are called.
const OTHER: &str = "other";

/// The values of free labels, by label: the same for all metrics, so that they can be compared.
static KNOWN: RwLock<BTreeMap<&str, BTreeSet<Box<str>>>> = RwLock::new(BTreeMap::new());

/// The handles of each value of a free label.
type Made<T> = BTreeMap<Box<str>, Arc<[T]>>;

/// A metric with its handles. `L`: the values of its fixed label.
#[derive(Debug)]
pub(crate) struct Family<T, L> {
    metric: Metric,
    /// Read for every message, and by all threads, so by no lock; written when a value turns up.
    handles: OnceLock<ArcSwap<Made<T>>>,
    values: PhantomData<fn(L)>,
}

/// The handles of one value of the free label.
#[derive(Debug)]
pub(crate) struct Handles<T, L>(Arc<[T]>, PhantomData<fn(L)>);

impl<T, L> Clone for Handles<T, L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0), PhantomData)
    }
}

impl<T, L: Values> Handles<T, L> {
    pub(crate) fn at(&self, value: L) -> &T {
        &self.0[value.index()]
    }
}

/// One metric with one set of labels.
pub(crate) trait Handle: Clone + Send + Sync {
    /// Of several things together; none, where the last one that was looked at would hide the others.
    fn make_for_all(name: &'static str, labels: Vec<Label>) -> Self {
        Self::make(name, labels)
    }

    fn make(name: &'static str, labels: Vec<Label>) -> Self;
}

impl Handle for Counter {
    fn make(name: &'static str, labels: Vec<Label>) -> Self {
        let counter = metrics::counter!(name, labels);
        counter.increment(0);
        counter
    }
}

impl Handle for Gauge {
    fn make_for_all(_: &'static str, _: Vec<Label>) -> Self {
        Self::noop()
    }

    fn make(name: &'static str, labels: Vec<Label>) -> Self {
        metrics::gauge!(name, labels)
    }
}

impl Handle for Histogram {
    fn make(name: &'static str, labels: Vec<Label>) -> Self {
        metrics::histogram!(name, labels)
    }
}

impl<T: Handle, L: Values> Family<T, L> {
    pub(super) const fn new(metric: Metric) -> Self {
        Self { metric, handles: OnceLock::new(), values: PhantomData }
    }

    /// The handles of a value of the free label; of the metric itself, if it has none.
    pub(crate) fn of(&self, value: &str) -> Handles<T, L> {
        Handles(self.with(value, Arc::clone), PhantomData)
    }

    /// The handle of a value of the free label, and one of the fixed label. Without a recorder, it costs a look.
    pub(crate) fn pick(&self, value: &str, fixed: L) -> T {
        self.with(value, |handles| handles[fixed.index()].clone())
    }

    /// The handle of a metric without a free label.
    pub(crate) fn at(&self, value: L) -> T {
        self.pick("", value)
    }

    fn with<R>(&self, value: &str, take: impl Fn(&Arc<[T]>) -> R) -> R {
        if let Some(handles) = self.made().load().get(value) {
            return take(handles);
        }
        let value = self.free().map_or(value, |label| told_apart(label, value));
        if let Some(handles) = self.made().load().get(value) {
            return take(handles);
        }
        take(&self.make(value))
    }

    fn made(&self) -> &ArcSwap<Made<T>> {
        self.handles.get_or_init(ArcSwap::default)
    }

    fn make(&self, value: &str) -> Arc<[T]> {
        let free = self.free().map(|label| Label::new(label, value.to_owned()));
        let labels = |fixed: &'static str| {
            let fixed = L::LABEL.map(|label| Label::new(label, fixed));
            free.iter().cloned().chain(fixed).collect()
        };
        let made: Arc<[T]> = {
            let make = if free.is_some() && value == OTHER { T::make_for_all } else { T::make };
            L::VALUES.iter().map(|fixed| make(self.metric.name, labels(fixed))).collect()
        };
        self.made().rcu(|known| {
            let mut known = Made::clone(known);
            known.entry(value.into()).or_insert_with(|| Arc::clone(&made));
            known
        });
        self.made().load().get(value).map_or(made, Arc::clone)
    }

    fn free(&self) -> Option<&'static str> {
        self.metric.labels.first().copied().filter(|label| L::LABEL != Some(label))
    }
}

impl<T: Handle> Family<T, ()> {
    /// The handle of a metric without labels.
    pub(crate) fn get(&self) -> T {
        self.at(())
    }

    /// The handle of a value of the free label, which is the only one.
    pub(crate) fn one(&self, value: &str) -> T {
        self.pick(value, ())
    }
}

/// A value of a free label, as long as there are not too many.
fn told_apart<'v>(label: &'static str, value: &'v str) -> &'v str {
    let most = match label {
        "exchange" => MOST_EXCHANGES,
        "queue" => MOST_QUEUES,
        _ => MOST_NAMES,
    };
    let is_known = |known: &BTreeMap<&str, BTreeSet<Box<str>>>| {
        let known = known.get(label)?;
        if known.contains(value) { Some(true) } else { (known.len() >= most).then_some(false) }
    };
    let known = is_known(&KNOWN.read().unwrap_or_else(PoisonError::into_inner));
    let is_told = known.unwrap_or_else(|| {
        let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been faster.
        is_known(&known).unwrap_or_else(|| known.entry(label).or_default().insert(value.into()))
    });
    if is_told { value } else { OTHER }
}

/// A family, whatever its kind.
pub(crate) trait AnyFamily: Sync {
    fn metric(&self) -> &Metric;

    /// Forgets its handles, which belong to a former recorder perhaps, and makes those again whose labels are known.
    fn begin_anew(&self);
}

impl<T: Handle, L: Values> AnyFamily for Family<T, L> {
    fn metric(&self) -> &Metric {
        &self.metric
    }

    fn begin_anew(&self) {
        self.made().store(Arc::default());
        // A gauge that nobody sets yet would say 0.
        if self.free().is_none() && self.metric.kind == super::Kind::Counter {
            self.of("");
        }
    }
}

#[cfg(test)]
impl<T, L> Family<T, L> {
    /// How many values of its free label have handles.
    pub(super) fn kept(&self) -> usize {
        self.handles.get().map_or(0, |made| made.load().len())
    }
}
