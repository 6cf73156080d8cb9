//! `BENCHMARKS.md`: the last results of every scenario, with pictures.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context;
use serde::Deserialize;

use super::RESULTS;
use super::plot::{self, Curve};
use crate::options::Options;

const SCENARIOS: [&[&str]; 10] = [
    &["send"],
    &["send", "--rtt"],
    &["pipeline"],
    &["latency"],
    &["sqlite"],
    &["backlog"],
    &["orphans"],
    &["recovery"],
    &["instances"],
    &["compile"],
];
/// The repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const PICTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/pictures");

const BEGINNING: &str = "# Benchmarks

`cargo run --release --manifest-path tests/bench/Cargo.toml -- all` runs everything, and writes this page. It starts
servers of its own, with the durability that they should have in production and their data on the disk. Contestants take turns in short measurements, of which the medians are shown: whatever else the machine
does hits all of them. Only ratios within a run mean something.

Every contestant has a business pool of 32 connections with the defaults of sqlx; what it needs besides (a poller's
connection, the message store's own pool) comes on top. Throughput counts until everything that the calls left behind
is stored. *cpu* is the CPU time of a call: this process's, and the servers'.

| contestant | what a call is |
|---|---|
| `bare` | the business alone: one `INSERT`, committed by itself |
| `bare-tx` | the same, in a transaction |
| `outbox` | one transaction with two inserts; delivered by a poller with `SKIP LOCKED` and pipelined confirms |
| `unbatched` | half message, business, confirm, one statement and commit each |
| `outbox-postgres` | the crate, 0.3, with a transport over lapin |
| `sqlxmq` | the crate, 0.6, with `set_commit_interval` |
| `raw` | RabbitMQ alone, with publisher confirms |
| `handler` | ours, `check_back = …`, around the body of `bare` |
| `fence` | ours, `fence`, around the body of `bare-tx` |
";

/// Written by hand: a table does not say why.
const EXPLAINED: &str = include_str!("explained.md");

/// Runs every scenario in a process of its own, and writes the page.
pub(crate) fn run_all(options: &Options) -> anyhow::Result<ExitCode> {
    let mut all_hold = true;
    for arguments in SCENARIOS {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).args(options.quick.then_some("--quick"));
        all_hold &= command.status().with_context(|| format!("running {arguments:?}"))?.success();
    }
    write()?;
    Ok(if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the page from what is there.
pub(crate) fn write() -> anyhow::Result<()> {
    let mut page = String::from(BEGINNING);
    for arguments in SCENARIOS {
        let (title, file) = (arguments.join(" "), arguments.join("-").replace("---", "-"));
        let Ok(text) = fs::read_to_string(Path::new(RESULTS).join(&file).with_extension("txt")) else {
            continue;
        };
        write!(page, "\n## `{title}`\n")?;
        if let Some(picture) = picture(&title, &file)? {
            write!(page, "\n![calls a second over callers]({picture})\n")?;
        }
        write!(page, "\n```text\n{}\n```\n", text.trim())?;
    }
    write!(page, "\n{EXPLAINED}")?;
    fs::write(Path::new(ROOT).join("BENCHMARKS.md"), page)?;
    Ok(())
}

#[derive(Deserialize)]
struct Line {
    contestant: String,
    database: String,
    callers: u32,
    per_second: Option<f64>,
}

/// Draws throughput over callers on PostgreSQL, where there are several numbers of callers.
fn picture(title: &str, file: &str) -> anyhow::Result<Option<String>> {
    let lines = fs::read_to_string(Path::new(RESULTS).join(file).with_extension("jsonl"))?;
    let mut curves: Vec<Curve> = Vec::new();
    // Lines of targets are of another kind.
    for line in lines.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
        let (Some(rate), "postgres") = (line.per_second, line.database.as_str()) else { continue };
        let point = (f64::from(line.callers), rate);
        match curves.iter_mut().find(|curve| curve.name == line.contestant) {
            Some(curve) => curve.points.push(point),
            None => curves.push(Curve { name: line.contestant, points: vec![point] }),
        }
    }
    if !curves.iter().any(|curve| curve.points.len() > 2) {
        return Ok(None);
    }
    fs::create_dir_all(PICTURES)?;
    let svg = plot::draw(&format!("{title}, PostgreSQL"), "callers", "calls a second", &curves)?;
    fs::write(Path::new(PICTURES).join(file).with_extension("svg"), svg)?;
    Ok(Some(format!("tests/bench/pictures/{file}.svg")))
}
