//! ARCHITECTURE.md's code map names what is there: every folder, and in it every file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::root;

/// The rows of the table, by their paths: `{a,b}` in a path stands for both.
fn rows() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("reads");
    let map =
        text.split("## Code map").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a code map");
    let mut rows = BTreeMap::new();
    for line in map.lines() {
        let mut cells = line.trim_matches('|').splitn(2, '|').map(str::trim);
        let (Some(path), Some(text)) = (cells.next(), cells.next()) else { continue };
        let Some(path) = path.strip_prefix('`').and_then(|path| path.strip_suffix('`')) else { continue };
        for path in spelled_out(path) {
            rows.insert(path, text.to_owned());
        }
    }
    assert!(rows.len() > 20, "the code map has {} rows", rows.len());
    rows
}

fn spelled_out(path: &str) -> Vec<String> {
    match path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        Some((before, (names, after))) => {
            names.split(',').map(|name| format!("{before}{}{after}", name.trim())).collect()
        }
        None => vec![path.to_owned()],
    }
}

/// All names in a text that stand in backticks.
fn named(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// What the map lacks of a folder and of those below it.
fn missing(folder: &str, rows: &BTreeMap<String, String>, missing: &mut Vec<String>) {
    let mut stems = Vec::new();
    for entry in fs::read_dir(root().join(folder)).expect("reads").map(|entry| entry.expect("reads")) {
        let name = entry.file_name().into_string().expect("UTF-8");
        if entry.file_type().expect("known").is_dir() {
            self::missing(&format!("{folder}{name}/"), rows, missing);
        } else if let Some(stem) = name.strip_suffix(".rs")
            && !["mod", "lib"].contains(&stem)
            && !rows.contains_key(&format!("{folder}{name}"))
        {
            stems.push(stem.to_owned());
        }
    }
    let Some(text) = rows.get(folder) else {
        if !stems.is_empty() {
            missing.push(format!("{folder} has no row"));
        }
        return;
    };
    let named = named(text);
    missing.extend(
        stems.iter().filter(|stem| !named.contains(stem.as_str())).map(|stem| format!("{folder}: `{stem}`")),
    );
}

#[test]
fn the_code_map_is_the_tree() {
    let rows = rows();
    let gone: Vec<_> = rows.keys().filter(|path| !root().join(Path::new(path)).exists()).collect();
    assert!(gone.is_empty(), "in the code map of ARCHITECTURE.md, and not there: {gone:?}");
    let mut lacking = Vec::new();
    for folder in ["runtime/src/", "macros/src/"] {
        missing(folder, &rows, &mut lacking);
    }
    for entry in fs::read_dir(root().join("tests")).expect("reads").map(|entry| entry.expect("reads")) {
        let folder = format!("tests/{}/", entry.file_name().into_string().expect("UTF-8"));
        if entry.file_type().expect("known").is_dir() && !rows.contains_key(&folder) {
            lacking.push(format!("{folder} has no row"));
        }
    }
    assert!(lacking.is_empty(), "not in the code map of ARCHITECTURE.md:\n{}", lacking.join("\n"));
}
