//! What came out: medians in a table, JSON lines, targets that hold or don't.

pub(crate) mod machine;
mod plot;
pub(crate) mod summary;

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use crate::measure::Numbers;
use crate::options::{Database, Options};

/// Where results are written, unless somebody says otherwise.
const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/results");

/// The results of one scenario.
#[derive(Debug)]
pub(crate) struct Report {
    scenario: String,
    /// The one that targets are about.
    database: &'static str,
    /// Not everything takes part, so that numbers may be missing.
    is_partial: bool,
    json: PathBuf,
    cells: Vec<Cell>,
    targets: Vec<Target>,
    /// What was said so far.
    text: String,
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

/// A contestant with so many callers.
type Point<'a> = (&'a str, usize);

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        let scenario = options.name();
        let file = format!("{}.jsonl", scenario.replace(" --", "-"));
        let json = options.json.clone().unwrap_or_else(|| PathBuf::from(RESULTS).join(file));
        Self {
            scenario,
            database: options.scenario.target_database().name(),
            is_partial: options.is_partial(),
            json,
            cells: Vec::new(),
            targets: Vec::new(),
            text: String::new(),
        }
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

    /// The largest of all repetitions, with one caller.
    pub(crate) fn worst(&self, contestant: &str, number: fn(&Numbers) -> f64) -> Option<f64> {
        let cell = self.cells.iter().find(|cell| cell.is(contestant, self.database, 1))?;
        cell.repetitions.iter().map(number).max_by(f64::total_cmp)
    }

    /// Prints a line, and keeps it.
    pub(crate) fn say(&mut self, line: &str) {
        println!("{line}");
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Prints the medians, and how each compares to the hand-written outbox on its database.
    pub(crate) fn table(&mut self) {
        self.cells
            .sort_by_key(|cell| (cell.database != Database::Postgres.name(), cell.database, cell.callers));
        let repetitions = self.cells.iter().map(|cell| cell.repetitions.len()).max().unwrap_or_default();
        self.say(&format!("medians of {repetitions}"));
        self.say(&format!(
            "\n{:<9} {:>7}  {:<24} {:>8} {:>9} {:>9} {:>13}  of outbox's",
            "database", "callers", self.scenario, "per s", "p50 µs", "p99 µs", "cpu µs us+srv"
        ));
        for index in 0..self.cells.len() {
            let cell = &self.cells[index];
            let point = |cell: &Cell| (cell.database, cell.callers);
            let begins = index > 0 && point(&self.cells[index - 1]) != point(cell);
            let numbers = Numbers::median(&cell.repetitions);
            let outbox = self.median("outbox", cell.database, cell.callers);
            let line = format!(
                "{}{:<9} {:>7}  {:<24} {} {} {} {}{:<7} {}",
                if begins { "\n" } else { "" },
                cell.database,
                cell.callers,
                cell.contestant,
                shown(numbers.per_second, 8),
                shown(numbers.p50_us, 9),
                shown(numbers.p99_us, 9),
                shown(numbers.own_cpu_us, 6),
                plus(numbers.server_cpu_us),
                outbox.map_or_else(String::new, |outbox| compared(numbers, outbox))
            );
            self.say(line.trim_end());
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
        let of = |(name, callers): Point<'_>| self.median(name, self.database, callers).map(number);
        match (of(ours), of(theirs)) {
            (Some(ours), Some(theirs)) => Some(ours / theirs),
            _ if self.is_partial => None,
            // A target without numbers does not hold.
            _ => Some(f64::NAN),
        }
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

    /// Prints the targets, writes the JSON lines and the text, and says whether all targets hold.
    pub(crate) fn finish(mut self) -> anyhow::Result<bool> {
        let targets = self.targets.iter().map(|Target { target, value, bound, holds, .. }| {
            format!("{}  {value:>8.2}  {target} {bound}", if *holds { "holds" } else { "FAILS" })
        });
        let targets: Vec<_> = targets.collect();
        self.say("");
        for target in targets {
            self.say(&target);
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
        fs::write(self.json.with_extension("txt"), &self.text)?;
        println!("\nwritten to {}", self.json.display());
        Ok(self.targets.iter().all(|target| target.holds))
    }
}

impl Cell {
    fn is(&self, contestant: &str, database: &str, callers: usize) -> bool {
        self.contestant == contestant && self.database == database && self.callers == callers
    }
}

fn shown(number: f64, width: usize) -> String {
    if number.is_nan() { format!("{:>width$}", "") } else { format!("{number:>width$.0}") }
}

fn plus(number: f64) -> String {
    if number.is_nan() { String::new() } else { format!("+{number:.0}") }
}

/// In numbers of the outbox.
fn compared(numbers: Numbers, outbox: Numbers) -> String {
    let cpu = |numbers: Numbers| numbers.own_cpu_us + numbers.server_cpu_us;
    format!(
        "{:.2} rate, {:.2} p50, {:.2} cpu",
        numbers.per_second / outbox.per_second,
        numbers.p50_us / outbox.p50_us,
        cpu(numbers) / cpu(outbox)
    )
}
