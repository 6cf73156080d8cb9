//! What a soak found.

use std::fmt;
use std::time::Duration;

use super::faults::{Fault, Kind};
use super::sample::Sample;
use crate::books::Comparison;

/// Something that must not grow: by more than a fifth, and a little more.
struct Bound {
    name: &'static str,
    of: fn(&Sample) -> u64,
    little: u64,
}

const BOUNDS: [Bound; 4] = [
    Bound { name: "memory, KiB", of: |sample| sample.memory, little: 16 << 10 },
    Bound { name: "open files", of: |sample| sample.files, little: 16 },
    Bound { name: "threads", of: |sample| sample.threads, little: 8 },
    Bound { name: "connections", of: |sample| sample.connections, little: 8 },
];

/// How much of each kind is shown.
const SHOWN: usize = 20;

#[derive(Debug)]
pub(super) struct Report {
    pub(super) title: String,
    pub(super) took: Duration,
    pub(super) comparison: Comparison,
    /// Warnings of fence rows without a message: whatever dies, there are none.
    pub(super) strangers: usize,
    pub(super) faults: Vec<Fault>,
    pub(super) samples: Vec<Sample>,
}

impl Bound {
    /// The medians of the quarters.
    fn quarters(&self, samples: &[Sample]) -> [u64; 4] {
        let length = samples.len() / 4;
        [0, 1, 2, 3].map(|quarter| {
            let quarter = &samples[quarter * length..(quarter + 1) * length];
            median(quarter.iter().map(self.of).collect()).unwrap_or_default()
        })
    }

    const fn most(&self, [_, second, ..]: [u64; 4]) -> u64 {
        second + second / 5 + self.little
    }
}

impl Report {
    /// What was found wrong is an error.
    pub(super) fn verdict(&self) -> anyhow::Result<()> {
        let wrong: Vec<_> = self.wrong().map(|(what, which)| format!("{} {what}", which.len())).collect();
        anyhow::ensure!(wrong.is_empty(), "the books differ: {}", wrong.join(", "));
        anyhow::ensure!(self.strangers == 0, "{} warnings of fence rows without a message", self.strangers);
        for bound in &BOUNDS {
            let quarters = bound.quarters(&self.samples);
            let most = bound.most(quarters);
            anyhow::ensure!(quarters[3] <= most, "{}: {}, and {most} at most", bound.name, quarters[3]);
        }
        Ok(())
    }

    /// Whoever stands still for longer than a lease is taken for dead, and may be robbed.
    fn wrong(&self) -> impl Iterator<Item = (&'static str, &[String])> {
        let findings = self.comparison.findings().into_iter();
        findings.filter(|(what, which)| *what != "robbed" && !which.is_empty())
    }

    /// How long after each fault of a kind as much was done as usual, or half of it, and no more was
    /// unfinished; none: not before the next fault.
    fn recoveries(&self, kind: Kind) -> Vec<Option<Duration>> {
        let unfinished = self.samples.iter().filter_map(Sample::unfinished).collect();
        let usual = 2 * median(unfinished).unwrap_or_default() + 10;
        let busy = median(self.samples.iter().map(|sample| sample.answers).collect()).unwrap_or_default() / 2;
        let is_fine = |sample: &&Sample| {
            sample.answers >= busy && sample.unfinished().is_some_and(|count| count <= usual)
        };
        let next = |index: usize| self.faults.get(index + 1).map_or(Duration::MAX, |next| next.began);
        let recovery = |(index, fault): (usize, &Fault)| {
            let mut after =
                self.samples.iter().filter(|sample| (fault.ended..next(index)).contains(&sample.at));
            after.find(is_fine).map(|sample| sample.at.saturating_sub(fault.ended))
        };
        self.faults.iter().enumerate().filter(|(_, fault)| fault.kind == kind).map(recovery).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.took.as_secs_f64() / 60.0;
        writeln!(f, "{}: {minutes:.0} minutes, {} faults\n", self.title, self.faults.len())?;
        writeln!(f, "{:<20} {:>8}", "actions", self.comparison.actions)?;
        writeln!(f, "{:<20} {:>8}  (allowed)", "duplicate deliveries", self.comparison.duplicates)?;
        for (what, which) in self.comparison.findings() {
            let allowed =
                if what == "robbed" { "  (allowed: others take a slow process for dead)" } else { "" };
            writeln!(f, "{what:<20} {:>8}{allowed}", which.len())?;
        }
        writeln!(f, "{:<20} {:>8}", "fences left alone", self.strangers)?;
        for (what, which) in self.wrong() {
            writeln!(f, "\n{what}:\n  {}", which[..which.len().min(SHOWN)].join("\n  "))?;
        }
        writeln!(
            f,
            "\n{:<20} {:>8} {:>17} {:>9} {:>15}",
            "fault", "times", "recovery: median", "most", "not recovered"
        )?;
        for kind in Kind::ALL {
            let recoveries = self.recoveries(kind);
            let times: Vec<_> = recoveries.iter().flatten().copied().collect();
            let text = |time: Option<Duration>| {
                time.map_or("-".into(), |time| format!("{:.1} s", time.as_secs_f64()))
            };
            let most = text(times.iter().max().copied());
            let not = recoveries.len() - times.len();
            writeln!(
                f,
                "{:<20} {:>8} {:>17} {most:>9} {not:>15}",
                kind.name(),
                recoveries.len(),
                text(median(times))
            )?;
        }
        writeln!(f, "\n{:<20} {:>32} {:>8}", "growth", "medians of the quarters", "bound")?;
        for bound in &BOUNDS {
            let quarters = bound.quarters(&self.samples);
            let medians = quarters.iter().map(|median| format!("{median:>8}")).collect::<Vec<_>>().concat();
            let most = bound.most(quarters);
            let verdict = if quarters[3] <= most { "" } else { "  EXCEEDED" };
            writeln!(f, "{:<20} {medians} {most:>8}{verdict}", bound.name)?;
        }
        Ok(())
    }
}

fn median<T: Ord + Copy>(mut values: Vec<T>) -> Option<T> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}
