//! On what it was measured: the machine, and the versions of everything.

use std::fs;
use std::process::Command;

/// The versions of everything that the benchmark is made of.
pub(crate) const LOCK: &str = include_str!("../../Cargo.lock");
const CRATES: [&str; 10] = [
    "transactional-message",
    "sqlx",
    "lapin",
    "tokio",
    "outbox-core",
    "outbox-postgres",
    "sqlxmq",
    "ruststream",
    "ruststream-sqlx",
    "ruststream-lapin",
];

/// Cores, model and load, for people.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let information = read("/proc/cpuinfo");
    let of = |name: &str| {
        let line = information.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let model = of("model name").unwrap_or_else(|| "unknown".into());
    let load = read("/proc/loadavg");
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    format!("{cores} cores ({model}), load before the run {load}")
}

/// The compiler and the crates.
pub(crate) fn versions() -> String {
    let rustc = Command::new("rustc").arg("--version").output().ok();
    let rustc = rustc.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let crates = CRATES.iter().map(|name| {
        let start = format!("name = \"{name}\"");
        let lines = LOCK.lines().zip(LOCK.lines().skip(1));
        let versions = lines.filter(|(line, _)| *line == start).map(|(_, version)| version);
        let versions: Vec<_> = versions.filter_map(|version| version.split('"').nth(1)).collect();
        format!("{name} {}", versions.join(" and "))
    });
    format!("{}, {}", rustc.trim(), crates.collect::<Vec<_>>().join(", "))
}
