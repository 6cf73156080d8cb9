//! What came out: medians in a table, results in a file, our goals that are met or missed.

mod in_short;
pub(crate) mod machine;
mod page;
mod plot;
pub(crate) mod results;
mod table;

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use page::{check, run_all, write_page};
use results::{Goal, Relative, Results, Row, Run, Time};

use crate::measure::{self, Numbers};
use crate::options::{Database, Options};

/// The results of one scenario.
#[derive(Debug)]
pub(crate) struct Report {
    /// The one that goals are about.
    database: &'static str,
    /// Not everything takes part, so that numbers may be missing.
    is_partial: bool,
    /// What it measures says nothing about goals.
    is_quick: bool,
    file: PathBuf,
    cells: Vec<Cell<Numbers>>,
    times: Vec<Cell<f64>>,
    results: Results,
}

/// All repetitions of one measurement.
#[derive(Debug)]
struct Cell<T> {
    contestant: String,
    database: &'static str,
    callers: usize,
    repetitions: Vec<T>,
}

/// A contestant with so many callers.
type Point<'a> = (&'a str, usize);

impl Report {
    pub(crate) fn new(options: &Options, servers: String) -> anyhow::Result<Self> {
        let scenario = options.name();
        let file = match &options.json {
            Some(file) => file.clone(),
            None => page::results_folder(options)?.join(page::file_name(&scenario)),
        };
        let run = Run {
            scenario,
            date: time::OffsetDateTime::now_utc().date().to_string(),
            machine: machine::machine(),
            versions: machine::versions(),
            servers,
            ..Run::default()
        };
        println!("{}", table::heading(&run));
        Ok(Self {
            database: options.scenario.goal_database().name(),
            is_partial: options.is_partial(),
            is_quick: options.quick,
            file,
            cells: Vec::new(),
            times: Vec::new(),
            results: Results { run, ..Results::default() },
        })
    }

    /// One repetition.
    pub(crate) fn measured(
        &mut self,
        contestant: &str,
        database: &'static str,
        callers: usize,
        numbers: Numbers,
    ) {
        Cell::add(&mut self.cells, (contestant, database, callers), numbers);
    }

    /// One repetition of something that has only a time.
    pub(crate) fn took(&mut self, what: &str, time: Duration) {
        Cell::add(&mut self.times, (what, "", 0), time.as_secs_f64());
    }

    /// Tells whoever waits that it goes on.
    #[expect(clippy::unused_self, reason = "where to tell is the report's business")]
    pub(crate) fn progress(&self, what: &str) {
        eprintln!("  {what}");
    }

    /// The median over repetitions, if it was measured.
    fn median(&self, contestant: &str, database: &str, callers: usize) -> Option<Numbers> {
        let cell = self.cells.iter().find(|cell| cell.is((contestant, database, callers)))?;
        Some(Numbers::median(&cell.repetitions))
    }

    /// The median time, in seconds.
    pub(crate) fn time(&self, what: &str) -> f64 {
        let cell = self.times.iter().find(|cell| cell.is((what, "", 0)));
        measure::median(cell.iter().flat_map(|cell| &cell.repetitions).copied())
    }

    /// The longest time, in seconds.
    pub(crate) fn longest(&self, what: &str) -> Option<f64> {
        let cell = self.times.iter().find(|cell| cell.is((what, "", 0)))?;
        cell.repetitions.iter().copied().max_by(f64::total_cmp)
    }

    /// A line below the table.
    pub(crate) fn note(&mut self, line: &str) {
        self.results.notes.push(line.into());
    }

    /// A number is at least `bound` times somebody else's.
    pub(crate) fn at_least(
        &mut self,
        what: &str,
        bound: f64,
        ours: Point<'_>,
        theirs: Point<'_>,
        number: fn(Numbers) -> f64,
    ) {
        if let Some(value) = self.ratio(ours, theirs, number) {
            self.goal(&format!("{what} ≥ {bound} × {}", theirs.0), value, value >= bound);
        }
    }

    /// The same, at most.
    pub(crate) fn at_most(
        &mut self,
        what: &str,
        bound: f64,
        ours: Point<'_>,
        theirs: Point<'_>,
        number: fn(Numbers) -> f64,
    ) {
        if let Some(value) = self.ratio(ours, theirs, number) {
            self.goal(&format!("{what} ≤ {bound} × {}", theirs.0), value, value <= bound);
        }
    }

    fn ratio(&self, ours: Point<'_>, theirs: Point<'_>, number: fn(Numbers) -> f64) -> Option<f64> {
        let of = |(name, callers): Point<'_>| self.median(name, self.database, callers).map(number);
        match (of(ours), of(theirs)) {
            (Some(ours), Some(theirs)) => Some(ours / theirs),
            _ if self.is_partial => None,
            // A goal without numbers is missed.
            _ => Some(f64::NAN),
        }
    }

    pub(crate) fn goal(&mut self, goal: &str, value: f64, met: bool) {
        if !self.is_quick {
            self.results.goals.push(Goal { what: goal.into(), value, met });
        }
    }

    /// Prints the medians and our goals, stores them, and says whether all goals are met.
    pub(crate) fn finish(mut self) -> anyhow::Result<bool> {
        self.cells
            .sort_by_key(|cell| (cell.database != Database::Postgres.name(), cell.database, cell.callers));
        let rows = self.cells.iter().map(|cell| {
            let numbers = Numbers::median(&cell.repetitions);
            let outbox = self.median("outbox", cell.database, cell.callers);
            Row {
                contestant: cell.contestant.clone(),
                database: cell.database.into(),
                callers: cell.callers,
                numbers,
                relative: outbox.map(|outbox| Relative::of(numbers, outbox)),
            }
        });
        let (rows, times) = (
            rows.collect(),
            self.times
                .iter()
                .map(|cell| Time { what: cell.contestant.clone(), seconds: self.time(&cell.contestant) }),
        );
        let times = times.collect();
        let counts = self.cells.iter().map(|cell| cell.repetitions.len());
        let counts = counts.chain(self.times.iter().map(|cell| cell.repetitions.len()));
        self.results.run.repetitions = counts.max().unwrap_or_default();
        (self.results.rows, self.results.times) = (rows, times);

        if self.is_quick {
            println!("quick: these numbers mean nothing");
        }
        println!("{}", table::body(&self.results)?);
        for Goal { what, value, met } in &self.results.goals {
            println!("our goal is {}  {value:>8.2}  {what}", if *met { "met:   " } else { "missed:" });
        }
        self.results.write(&self.file)?;
        println!("\nwritten to {}", self.file.display());
        Ok(self.results.goals.iter().all(|goal| goal.met))
    }
}

impl<T> Cell<T> {
    fn is(&self, (contestant, database, callers): (&str, &str, usize)) -> bool {
        self.contestant == contestant && self.database == database && self.callers == callers
    }

    fn add(cells: &mut Vec<Self>, of: (&str, &'static str, usize), repetition: T) {
        match cells.iter_mut().find(|cell| cell.is(of)) {
            Some(cell) => cell.repetitions.push(repetition),
            None => cells.push(Self {
                contestant: of.0.into(),
                database: of.1,
                callers: of.2,
                repetitions: vec![repetition],
            }),
        }
    }
}
