//! What a run found, as a table.

use std::fmt;
use std::time::Duration;

use crate::books::Comparison;

/// Sums over all rounds.
#[derive(Debug)]
pub(crate) struct Report {
    database: String,
    seed: u64,
    pub(crate) kills: usize,
    pub(crate) took: Duration,
    actions: usize,
    duplicates: usize,
    /// How much of each kind was found.
    found: Vec<(&'static str, usize)>,
    recoveries: Vec<Duration>,
}

impl Report {
    pub(crate) const fn new(database: String, seed: u64) -> Self {
        Self {
            database,
            seed,
            kills: 0,
            took: Duration::ZERO,
            actions: 0,
            duplicates: 0,
            found: Vec::new(),
            recoveries: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, comparison: &Comparison, recoveries: Vec<Duration>) {
        self.actions += comparison.actions;
        self.duplicates += comparison.duplicates;
        self.recoveries.extend(recoveries);
        self.recoveries.sort_unstable();
        for (index, (name, which)) in comparison.findings().into_iter().enumerate() {
            match self.found.get_mut(index) {
                Some((_, count)) => *count += which.len(),
                None => self.found.push((name, which.len())),
            }
        }
    }

    /// The recovery that so many of a hundred were not slower than.
    fn recovery(&self, percent: usize) -> String {
        let last = self.recoveries.len().saturating_sub(1);
        let at = self.recoveries.get(last * percent / 100);
        at.map_or_else(|| "-".into(), |time| format!("{:.2} s", time.as_secs_f64()))
    }

    fn cells(&self) -> Vec<(String, String)> {
        let mut cells = vec![
            ("database".into(), self.database.clone()),
            ("kills".into(), self.kills.to_string()),
            ("actions".into(), self.actions.to_string()),
        ];
        cells.extend(self.found.iter().map(|(name, count)| ((*name).to_owned(), count.to_string())));
        cells.push(("duplicates".into(), self.duplicates.to_string()));
        cells.push(("recoveries".into(), self.recoveries.len().to_string()));
        for (name, percent) in [("p50", 50), ("p99", 99), ("max", 100)] {
            cells.push((name.into(), self.recovery(percent)));
        }
        cells.push(("seed".into(), self.seed.to_string()));
        cells.push(("took".into(), format!("{:.0} s", self.took.as_secs_f64())));
        cells
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |(name, value): &(String, String)| name.len().max(value.len());
        let cells = self.cells();
        let row = |cell: fn(&(String, String), usize) -> String| {
            cells.iter().map(|both| cell(both, width(both))).collect::<Vec<_>>().join("|")
        };
        let head = row(|(name, _), width| format!(" {name:>width$} "));
        let line = row(|_, width| "-".repeat(width + 2));
        let values = row(|(_, value), width| format!(" {value:>width$} "));
        write!(f, "|{head}|\n|{line}|\n|{values}|")
    }
}
