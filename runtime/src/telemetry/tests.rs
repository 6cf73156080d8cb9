//! The catalogue keeps Prometheus' rules, and is used by everybody.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::labels::Values;
use super::*;

#[test]
fn names_follow_the_rules() {
    let mut names = BTreeSet::new();
    for metric in all() {
        let Metric { name, kind, unit, labels, help, bounds } = *metric;
        assert!(names.insert(name), "{name} is there twice");
        assert!(name.starts_with("transactional_message_"), "{name}");
        assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
        assert_eq!(name.ends_with("_seconds"), unit == Unit::Seconds, "{name}");
        assert!(!help.is_empty() && !help.ends_with('.'), "{name}: {help}");
        assert_eq!(bounds.is_empty(), kind != Kind::Histogram, "{name}");
        assert!(bounds.is_sorted(), "{name}");
        assert!(labels.iter().all(|label| *label != "le" && *label != "quantile"), "{name}");
    }
}

#[test]
fn every_file_gets_its_metrics_from_the_catalogue() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&sources, &mut files);
    assert!(files.len() > 100, "{files:?}");
    let elsewhere = |path: &&PathBuf| !path.starts_with(sources.join("telemetry"));
    for path in files.iter().filter(elsewhere) {
        let text = fs::read_to_string(path).expect("reads");
        for word in ["counter!(", "gauge!(", "histogram!("] {
            assert!(!text.contains(word), "{} has `{word}`", path.display());
        }
    }
    // Each is used somewhere.
    let catalogue = include_str!("catalogue.rs");
    let statics = catalogue.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": "));
    let names: Vec<_> = statics
        .map(|(name, _)| name)
        .filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .collect();
    assert_eq!(names.len(), catalogue::ALL.len());
    let used: String =
        files.iter().filter(elsewhere).map(|path| fs::read_to_string(path).expect("reads")).collect();
    let words: BTreeSet<_> = used.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    for name in names {
        assert!(words.contains(name), "`{name}` is never used");
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("reads").map(|entry| entry.expect("reads")) {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// What a process exports at most, with so many functions, check-back handlers and fences, exchanges and queues.
fn series(metric: &Metric) -> usize {
    let times = |label: &&str| match *label {
        "function" => 20,
        // Two fences, and five functions with a handler.
        "name" => 7,
        "exchange" | "queue" => 5,
        "worker" => 9,
        "outcome" if metric.labels[0] == "function" => labels::CallOutcome::VALUES.len(),
        "outcome" => labels::Answer::VALUES.len(),
        "event" => labels::Reported::VALUES.len(),
        "action" => labels::Decided::VALUES.len(),
        "by" => labels::Overruler::VALUES.len(),
        "reason" if metric.labels[0] == "queue" => labels::Buried::VALUES.len(),
        "reason" => labels::NotDelivered::VALUES.len(),
        "result" => labels::Handled::VALUES.len(),
        // As `via`: console, cli, code.
        "what" | "via" => 3,
        "kind" => 4,
        "state" => labels::State::VALUES.len(),
        "path" => labels::RelayPath::VALUES.len(),
        "statement" => labels::Statement::VALUES.len(),
        "version" | "store" | "transport" => 1,
        other => panic!("the label {other} is unknown here"),
    };
    // A histogram has one for each bucket, for what is above them all, for the sum and for the count.
    let each = if metric.kind == Kind::Histogram { metric.bounds.len() + 3 } else { 1 };
    each * metric.labels.iter().map(times).product::<usize>()
}

#[test]
fn a_process_has_no_more_than_a_thousand_series() {
    let all: usize = all().map(series).sum();
    assert!(all <= 1000, "{all}");
}

#[test]
fn what_is_too_many_is_called_other() {
    let family = &catalogue::CONSUMER_WAITING;
    for number in 0..120 {
        family.of(&format!("queue-{number}"));
    }
    assert!(family.kept() <= 101, "{}", family.kept());
    let again = family.kept();
    family.of("queue-119");
    family.of("one more");
    assert_eq!(family.kept(), again, "nothing is kept for what is not told apart");
}
