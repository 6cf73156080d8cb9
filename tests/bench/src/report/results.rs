//! What a scenario came to, as it is stored and as the page shows it. A file is JSON lines, so that a
//! figure that changes is a line that changes.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Deserializer, Serialize};

use crate::measure::Numbers;

/// Everything about one scenario.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(super) run: Run,
    pub(super) rows: Vec<Row>,
    pub(super) times: Vec<Time>,
    pub(super) notes: Vec<String>,
    pub(super) goals: Vec<Goal>,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Run(Run),
    Row(Row),
    Time(Time),
    Note(String),
    Goal(Goal),
}

/// When, and on what.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) scenario: String,
    pub(super) date: String,
    pub(super) machine: String,
    pub(super) versions: String,
    pub(super) servers: String,
    pub(super) repetitions: usize,
    /// What a reader has to know about this run. Written by hand, if ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) remark: Option<String>,
}

/// What calls cost: the medians of one contestant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) contestant: String,
    pub(super) database: String,
    pub(super) callers: usize,
    #[serde(flatten)]
    pub(super) numbers: Numbers,
    /// Stored, because numbers that were rounded have other ratios.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) relative: Option<Relative>,
}

/// Relative to a hand-written outbox on the same database with as many callers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Relative {
    #[serde(deserialize_with = "or_nan")]
    pub(super) rate: f64,
    #[serde(deserialize_with = "or_nan")]
    pub(super) p50: f64,
    #[serde(deserialize_with = "or_nan")]
    pub(super) cpu: f64,
}

/// How long something takes that is no call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Time {
    pub(super) what: String,
    pub(super) seconds: f64,
}

/// Something that we want to be so.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Goal {
    pub(super) what: String,
    #[serde(deserialize_with = "or_nan")]
    pub(super) value: f64,
    pub(super) met: bool,
}

impl Results {
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file).with_context(|| {
            format!("{} can't be read: run that scenario, which writes it", file.display())
        })?;
        let mut results = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = serde_json::from_str(line)
                .with_context(|| format!("line {} of {}", number + 1, file.display()))?;
            match line {
                Line::Run(run) => results.run = run,
                Line::Row(row) => results.rows.push(row),
                Line::Time(time) => results.times.push(time),
                Line::Note(note) => results.notes.push(note),
                Line::Goal(goal) => results.goals.push(goal),
            }
        }
        Ok(results)
    }

    pub(super) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let lines = [Line::Run(self.run.clone())].into_iter();
        let lines = lines
            .chain(self.rows.iter().cloned().map(Line::Row))
            .chain(self.times.iter().cloned().map(Line::Time))
            .chain(self.notes.iter().cloned().map(Line::Note))
            .chain(self.goals.iter().cloned().map(Line::Goal));
        let mut text = String::new();
        for line in lines {
            text.push_str(&serde_json::to_string(&line)?);
            text.push('\n');
        }
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(file, text).with_context(|| format!("writing {}", file.display()))
    }

    pub(super) fn row(&self, contestant: &str, database: &str, callers: usize) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| row.contestant == contestant && row.database == database && row.callers == callers)
    }
}

impl Relative {
    pub(super) fn of(numbers: Numbers, outbox: Numbers) -> Self {
        let cpu = |numbers: Numbers| numbers.own_cpu_us + numbers.server_cpu_us;
        Self {
            rate: numbers.per_second / outbox.per_second,
            p50: numbers.p50_us / outbox.p50_us,
            cpu: cpu(numbers) / cpu(outbox),
        }
    }
}

/// JSON has no NaN: a number that was not measured is null there.
pub(crate) fn or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}
