//! `BENCHMARKS.md`: made of the stored results of every scenario, and of what people wrote about them.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context;

use super::plot::{self, Curve};
use super::results::Results;
use super::{in_short, table};
use crate::options::{Options, scratch};

const SCENARIOS: [&[&str]; 15] = [
    &["send"],
    &["send", "--rtt"],
    &["many"],
    &["import"],
    &["pipeline"],
    &["latency"],
    &["sqlite"],
    &["backlog"],
    &["orphans"],
    &["recovery"],
    &["instances"],
    &["kept"],
    &["delayed"],
    &["consume"],
    &["compile"],
];
/// The repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const PAGE: &str = "BENCHMARKS.md";
/// In the repository, from its root.
const PICTURES: &str = "tests/bench/pictures";
/// Where results are stored, and belong to the repository.
const RESULTS: &str = "tests/bench/results";

/// Written by hand: what the figures mean, and why they are so.
const METHOD: &str = include_str!("method.md");
const EXPLAINED: &str = include_str!("explained.md");
const APPENDIX: &str = "\
## Appendix: raw runs

*cpu* is the CPU time of a call: this process's, and the servers'.
";

/// Where a run stores its results. Those that nobody shall quote don't replace those of the repository.
pub(super) fn results_folder(options: &Options) -> anyhow::Result<PathBuf> {
    if options.quick {
        Ok(scratch()?.join(RESULTS))
    } else if options.is_partial() {
        Ok(scratch()?.join("partial"))
    } else {
        Ok(Path::new(ROOT).join(RESULTS))
    }
}

/// Of a scenario's results.
pub(super) fn file_name(scenario: &str) -> String {
    format!("{}.jsonl", scenario.replace(" --", "-"))
}

/// Runs every scenario in a process of its own, and writes the page: of a quick run, one to throw away.
pub(crate) fn run_all(options: &Options) -> anyhow::Result<ExitCode> {
    let mut all_met = true;
    for arguments in SCENARIOS {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).args(options.quick.then_some("--quick"));
        println!("\n== {}", arguments.join(" "));
        let met = command.status().with_context(|| format!("running {arguments:?}"))?.success();
        anyhow::ensure!(met || !options.quick, "the scenario `{}` failed", arguments.join(" "));
        all_met &= met;
    }
    write_below(&if options.quick { scratch()? } else { ROOT.into() })?;
    Ok(if all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the page and its pictures from the results that are stored.
pub(crate) fn write_page() -> anyhow::Result<()> {
    write_below(Path::new(ROOT))
}

fn write_below(root: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(root.join(PICTURES))?;
    for (name, text) in files(root)? {
        let file = root.join(name);
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

/// Fails if somebody has changed the page, or what it is made of, and not both.
pub(crate) fn check() -> anyhow::Result<()> {
    for (name, text) in files(Path::new(ROOT))? {
        let found = fs::read_to_string(Path::new(ROOT).join(&name)).unwrap_or_default();
        anyhow::ensure!(
            found == text,
            "{name} is not what `tests/bench` makes of its results. Change `tests/bench/src/report` or \
             `tests/bench/results`, not {name}, and then run the benchmark's scenario `report`"
        );
    }
    Ok(())
}

/// The page and its pictures, each by its name from the root.
fn files(root: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let names = SCENARIOS.map(|arguments| file_name(&arguments.join(" ")));
    let all = names.iter().map(|name| Results::read(&root.join(RESULTS).join(name)));
    let all = all.collect::<anyhow::Result<Vec<_>>>()?;
    let mut files = Vec::new();
    let mut page = format!("{}\n{}\n{METHOD}", in_short::text(&all)?, goals(&all)?);
    for results in &all {
        if let Some(svg) = picture(results)? {
            let file = format!("{PICTURES}/{}", file_name(&results.run.scenario).replace("jsonl", "svg"));
            write!(page, "\n![{}: calls a second over callers]({file})\n", results.run.scenario)?;
            files.push((file, svg));
        }
    }
    write!(page, "\n{EXPLAINED}\n{APPENDIX}")?;
    for results in &all {
        write!(page, "\n### `{}`\n\n{}.", results.run.scenario, results.run.date)?;
        if let Some(remark) = &results.run.remark {
            write!(page, " {remark}")?;
        }
        let (heading, body) = (table::heading(&results.run), table::body(results)?);
        write!(page, "\n\n```text\n{heading}\n{}\n```\n", body.trim_end())?;
    }
    files.push((PAGE.into(), page));
    Ok(files)
}

/// What we want, and whether we have it.
fn goals(all: &[Results]) -> anyhow::Result<String> {
    let mut text = String::from(
        "## Our goals\n\nWe set them for ourselves; no user depends on one. What users can depend on is in \
         [RELIABILITY.md](RELIABILITY.md).\n\n| scenario | our goal | measured | |\n|---|---|---:|---|\n",
    );
    for results in all {
        for goal in &results.goals {
            let verdict = if goal.met { "met" } else { "**missed**" };
            writeln!(text, "| `{}` | {} | {:.2} | {verdict} |", results.run.scenario, goal.what, goal.value)?;
        }
    }
    Ok(text)
}

/// Throughput over callers on PostgreSQL, where there are several numbers of callers.
fn picture(results: &Results) -> anyhow::Result<Option<String>> {
    let mut curves: Vec<Curve> = Vec::new();
    for row in results.rows.iter().filter(|row| row.database == "postgres") {
        if row.numbers.per_second.is_nan() {
            continue;
        }
        let point = (f64::from(u32::try_from(row.callers)?), row.numbers.per_second);
        match curves.iter_mut().find(|curve| curve.name == row.contestant) {
            Some(curve) => curve.points.push(point),
            None => curves.push(Curve { name: row.contestant.clone(), points: vec![point] }),
        }
    }
    if !curves.iter().any(|curve| curve.points.len() > 2) {
        return Ok(None);
    }
    let title = format!("{}, PostgreSQL", results.run.scenario);
    Ok(Some(plot::draw(&title, "callers", "calls a second", &curves)?))
}
