//! What operators are given speaks of metrics that exist: rules, dashboard, documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::root;

const PREFIX: &str = "transactional_message_";

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The metrics, by name, with their labels; and which are histograms.
struct Catalogue {
    metrics: BTreeMap<String, Vec<String>>,
    histograms: BTreeSet<String>,
}

impl Catalogue {
    fn read() -> Self {
        let text = read("runtime/src/telemetry/catalogue.rs");
        let (mut metrics, mut histograms) = (BTreeMap::new(), BTreeSet::new());
        for kind in ["counter", "gauge", "histogram"] {
            for metric in text.split(&format!("Metric::{kind}(")).skip(1) {
                let name = metric.split('"').nth(1).expect("a name").to_owned();
                let labels = metric.split("&[").nth(1).and_then(|rest| rest.split(']').next());
                let labels = labels.expect("labels").split('"').skip(1).step_by(2).map(Into::into).collect();
                if kind == "histogram" {
                    histograms.insert(name.clone());
                }
                metrics.insert(name, labels);
            }
        }
        assert!(metrics.len() > 30 && histograms.len() > 5, "{metrics:?}");
        Self { metrics, histograms }
    }

    fn has(&self, name: &str) -> bool {
        let of_histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .any(|part| name.strip_suffix(part).is_some_and(|name| self.histograms.contains(name)));
        of_histogram || self.metrics.contains_key(name)
    }
}

/// All names of metrics in a text.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.len() > PREFIX.len() && word.starts_with(PREFIX)).collect()
}

#[test]
fn only_metrics_that_exist_are_named() {
    let catalogue = Catalogue::read();
    for path in [
        "monitoring/rules.yml",
        "monitoring/rules_test.yml",
        "monitoring/dashboard.json",
        "PRODUCTION.md",
        "runtime/src/guide/operations.md",
        "runtime/src/guide/consumers.md",
    ] {
        let text = read(path);
        let names = named(&text);
        let unknown: Vec<_> = names.iter().filter(|name| !catalogue.has(name)).collect();
        assert!(unknown.is_empty(), "{path} names metrics that are not in the catalogue: {unknown:?}");
        assert!(!path.starts_with("monitoring/") || names.len() > 10, "{path} names {names:?}");
    }
    assert!(!catalogue.has("transactional_message_messages_bucket"), "it is no histogram");
}

#[test]
fn every_metric_is_documented_with_its_labels() {
    let production = read("PRODUCTION.md");
    let section = production.split("\n## Metrics\n").nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows = section.expect("a section").lines().filter(|line| line.starts_with("| `"));
    let mut documented = BTreeMap::new();
    for cell in rows.filter_map(|row| row.split('|').nth(1)) {
        for one in cell.split('`').skip(1).step_by(2) {
            let (name, labels) = one.split_once('{').unwrap_or((one, "}"));
            let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
            documented.insert(format!("{PREFIX}{name}"), labels.map(ToOwned::to_owned).collect::<Vec<_>>());
        }
    }
    assert_eq!(documented, Catalogue::read().metrics, "PRODUCTION.md (left), the catalogue (right)");
}

/// The alerts of the rules file, each with its lines.
fn alerts(rules: &str) -> BTreeMap<&str, &str> {
    rules
        .split("      - alert: ")
        .skip(1)
        .map(|alert| alert.split_once('\n').expect("more than a name"))
        .collect()
}

#[test]
fn every_alert_says_what_to_do_is_documented_and_is_tested() {
    let (rules, tests, production) =
        (read("monitoring/rules.yml"), read("monitoring/rules_test.yml"), read("PRODUCTION.md"));
    let alerts = alerts(&rules);
    let (_, table) =
        production.split_once("\n## What to alert on\n").expect("the heading that alerts link to");
    let row = |line: &str| {
        let mut cells = line.split('|').map(|cell| cell.trim().to_owned()).skip(1);
        Some((cells.next()?, cells.next()?))
            .filter(|(_, severity)| ["page", "ticket"].contains(&severity.as_str()))
    };
    let documented: BTreeMap<_, _> = table.lines().filter_map(row).collect();
    let severities = alerts.iter().map(|(name, lines)| {
        let severity = lines.split("severity: ").nth(1).and_then(|rest| rest.split('}').next());
        ((*name).to_owned(), severity.unwrap_or_default().to_owned())
    });
    assert_eq!(documented, severities.collect(), "PRODUCTION.md (left), the rules (right)");
    assert!(alerts.len() > 10);
    for (name, lines) in alerts {
        for needed in ["expr: ", "summary: ", "description: ", "PRODUCTION.md#what-to-alert-on"] {
            assert!(lines.contains(needed), "{name} has no `{needed}`");
        }
        let description = lines.split("description: \"").nth(1).and_then(|rest| rest.split("\"\n").next());
        let described = format!("| {} |\n", description.unwrap_or_default());
        assert!(
            table.contains(&described),
            "PRODUCTION.md does not say what to do after {name}: {described}"
        );
        assert!(
            tests.contains(&format!("alertname=\"{name}\", alertstate=\"firing\"")),
            "{name} is not tested"
        );
    }
}

#[test]
fn every_panel_says_what_is_normal_and_what_to_do_otherwise() {
    let dashboard: Value = serde_json::from_str(&read("monitoring/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64()), "an id is there twice: {}", panel["id"]);
        if panel["type"] == "row" {
            continue;
        }
        let (title, description) = (&panel["title"], panel["description"].as_str().unwrap_or_default());
        assert!(description.contains("Normal: "), "{title}: {description}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        for target in panel["targets"].as_array().expect("targets") {
            let expression = target["expr"].as_str().expect("an expression");
            let (names, filters) = (
                expression.matches(PREFIX).count(),
                expression.matches(r#"{job=~"$job", instance=~"$instance""#).count(),
            );
            assert_eq!(names, filters, "{title}: {expression}");
        }
    }
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let names: Vec<_> = variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
    assert_eq!(names, ["datasource", "job", "instance"]);
}
