//! What came out: medians in a table, JSON lines, targets that hold or don't.

pub(crate) mod machine;

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use crate::measure::Numbers;
use crate::options::{Database, Options};

/// The results of one scenario.
#[derive(Debug)]
pub(crate) struct Report {
    scenario: String,
    json: PathBuf,
    cells: Vec<Cell>,
    targets: Vec<Target>,
}

/// All repetitions of one measurement.
#[derive(Debug)]
struct Cell {
    contestant: String,
    database: &'static str,
    callers: usize,
    repetitions: Vec<Numbers>,
}

#[derive(Debug, Serialize)]
struct Measurement<'a> {
    scenario: &'a str,
    contestant: &'a str,
    database: &'a str,
    callers: usize,
    #[serde(flatten)]
    numbers: Numbers,
}

/// Something that must be so.
#[expect(clippy::struct_field_names, reason = "the JSON's name")]
#[derive(Debug, Serialize)]
struct Target {
    scenario: String,
    target: String,
    value: f64,
    bound: f64,
    holds: bool,
}

/// A contestant on PostgreSQL with so many callers.
type Point<'a> = (&'a str, usize);

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        let scenario = options.name();
        let file = format!("{}.jsonl", scenario.replace(" --", "-"));
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/results");
        let json = options.json.clone().unwrap_or_else(|| folder.join(file));
        Self { scenario, json, cells: Vec::new(), targets: Vec::new() }
    }

    /// One repetition.
    pub(crate) fn measured(
        &mut self,
        contestant: &str,
        database: &'static str,
        callers: usize,
        numbers: Numbers,
    ) {
        let known = self.cells.iter_mut().find(|cell| cell.is(contestant, database, callers));
        match known {
            Some(cell) => cell.repetitions.push(numbers),
            None => self.cells.push(Cell {
                contestant: contestant.into(),
                database,
                callers,
                repetitions: vec![numbers],
            }),
        }
    }

    /// Tells whoever waits that it goes on.
    #[expect(clippy::unused_self, reason = "where to tell is the report's business")]
    pub(crate) fn progress(&self, what: &str) {
        eprintln!("  {what}");
    }

    /// The median over repetitions, if it was measured.
    pub(crate) fn median(&self, contestant: &str, database: &str, callers: usize) -> Option<Numbers> {
        let cell = self.cells.iter().find(|cell| cell.is(contestant, database, callers))?;
        Some(Numbers::median(&cell.repetitions))
    }

    /// The largest of all repetitions, on PostgreSQL with one caller.
    pub(crate) fn worst(&self, contestant: &str, number: fn(&Numbers) -> f64) -> Option<f64> {
        let cell = self.cells.iter().find(|cell| cell.is(contestant, Database::Postgres.name(), 1))?;
        cell.repetitions.iter().map(number).max_by(f64::total_cmp)
    }

    /// Prints the medians, and how each compares to the hand-written outbox on its database.
    pub(crate) fn table(&self) {
        println!("\n{}\n", self.scenario);
        println!(
            "{:<10} {:>7}  {:<24} {:>10} {:>9} {:>9} {:>9}   of outbox's",
            "database", "callers", "contestant", "calls/s", "p50 µs", "p99 µs", "cpu µs"
        );
        let mut cells: Vec<_> = self.cells.iter().collect();
        cells.sort_by_key(|cell| (cell.database != Database::Postgres.name(), cell.database, cell.callers));
        let mut last = None;
        for cell in cells {
            if last.is_some_and(|last| last != (cell.database, cell.callers)) {
                println!();
            }
            last = Some((cell.database, cell.callers));
            let Numbers { per_second, p50_us, p99_us, cpu_us } = Numbers::median(&cell.repetitions);
            let ratio = self.median("outbox", cell.database, cell.callers).map_or(String::new(), |outbox| {
                let of = |ours: f64, theirs: f64| ours / theirs;
                format!(
                    "{:.2} rate, {:.2} p50, {:.2} cpu",
                    of(per_second, outbox.per_second),
                    of(p50_us, outbox.p50_us),
                    of(cpu_us, outbox.cpu_us)
                )
            });
            println!(
                "{:<10} {:>7}  {:<24} {per_second:>10.0} {p50_us:>9.0} {p99_us:>9.0} {cpu_us:>9.0}   {ratio}",
                cell.database, cell.callers, cell.contestant
            );
        }
    }

    /// A number of one contestant, in those of another, is at least `bound`.
    pub(crate) fn at_least(
        &mut self,
        target: &str,
        bound: f64,
        ours: Point<'_>,
        theirs: Point<'_>,
        number: fn(Numbers) -> f64,
    ) {
        if let Some(value) = self.ratio(ours, theirs, number) {
            self.target(&format!("{target}, at least"), value, bound, value >= bound);
        }
    }

    /// The same, at most.
    pub(crate) fn at_most(
        &mut self,
        target: &str,
        bound: f64,
        ours: Point<'_>,
        theirs: Point<'_>,
        number: fn(Numbers) -> f64,
    ) {
        if let Some(value) = self.ratio(ours, theirs, number) {
            self.target(&format!("{target}, at most"), value, bound, value <= bound);
        }
    }

    fn ratio(&self, ours: Point<'_>, theirs: Point<'_>, number: fn(Numbers) -> f64) -> Option<f64> {
        let of =
            |(name, callers): Point<'_>| self.median(name, Database::Postgres.name(), callers).map(number);
        Some(of(ours)? / of(theirs)?)
    }

    pub(crate) fn target(&mut self, target: &str, value: f64, bound: f64, holds: bool) {
        self.targets.push(Target {
            scenario: self.scenario.clone(),
            target: target.into(),
            value,
            bound,
            holds,
        });
    }

    /// Prints the targets, writes the JSON lines, and says whether all targets hold.
    pub(crate) fn finish(self) -> anyhow::Result<bool> {
        if !self.targets.is_empty() {
            println!("\ntargets\n");
        }
        for Target { target, value, bound, holds, .. } in &self.targets {
            println!("{}  {value:>8.2}  {target} {bound}", if *holds { "holds " } else { "FAILS " });
        }
        if let Some(folder) = self.json.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::create(&self.json)?;
        for cell in &self.cells {
            let line = Measurement {
                scenario: &self.scenario,
                contestant: &cell.contestant,
                database: cell.database,
                callers: cell.callers,
                numbers: Numbers::median(&cell.repetitions),
            };
            writeln!(file, "{}", serde_json::to_string(&line)?)?;
        }
        for target in &self.targets {
            writeln!(file, "{}", serde_json::to_string(target)?)?;
        }
        println!("\nwritten to {}", self.json.display());
        Ok(self.targets.iter().all(|target| target.holds))
    }
}

impl Cell {
    fn is(&self, contestant: &str, database: &str, callers: usize) -> bool {
        self.contestant == contestant && self.database == database && self.callers == callers
    }
}
