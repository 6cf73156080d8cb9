//! What may stand in which file.

use std::fs;
use std::path::Path;

use crate::root;

/// A file with its path from the root of the workspace.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Without comments and without its tests.
    fn code(&self) -> String {
        let text = self.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code = |line: &&str| !line.trim_start().starts_with("//");
        text.lines().filter(code).collect::<Vec<_>>().join("\n")
    }
}

fn collect(directory: &Path, prefix: &str, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).expect("reads").map(|entry| entry.expect("reads")) {
        let name = entry.file_name().into_string().expect("UTF-8");
        let path = format!("{prefix}{name}");
        if entry.file_type().expect("known").is_dir() {
            if name != "target" && !name.starts_with('.') {
                collect(&entry.path(), &format!("{path}/"), sources);
            }
        } else if Path::new(&name).extension().is_some_and(|extension| extension == "rs") {
            sources.push(Source { path, text: fs::read_to_string(entry.path()).expect("reads") });
        }
    }
}

/// All Rust files below a folder.
fn sources(below: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    collect(&root().join(below), &format!("{below}/"), &mut sources);
    assert!(!sources.is_empty(), "nothing is to be seen below {below}");
    sources
}

fn everything() -> Vec<Source> {
    ["runtime", "macros", "examples", "tests"].into_iter().flat_map(sources).collect()
}

/// Fails with all files of which `is_wrong` finds something to say.
#[track_caller]
fn none(sources: &[Source], mut is_wrong: impl FnMut(&Source) -> Option<String>) {
    let wrong: Vec<_> = sources
        .iter()
        .filter_map(|source| is_wrong(source).map(|why| format!("{}: {why}", source.path)))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_file_begins_with_what_it_is() {
    // What the attribute expands to is a snapshot, and has no header.
    none(&everything(), |source| {
        let snapshot =
            source.path.starts_with("macros/tests/expand/") || source.path.starts_with("tests/ui/fail/");
        (!snapshot && !source.text.starts_with("//!")).then(|| "does not begin with `//!`".into())
    });
}

#[test]
fn no_file_is_over_500_lines() {
    none(&everything(), |source| {
        let lines = source.text.lines().count();
        (lines > 500).then(|| format!("{lines} lines"))
    });
}

#[test]
fn nothing_is_left_to_do() {
    let marks = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!"));
    let notes = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X"].concat()];
    none(&everything(), |source| {
        marks
            .iter()
            .chain(&notes)
            .find(|mark| source.text.contains(*mark))
            .map(|mark| format!("has `{mark}`"))
    });
}

#[test]
fn no_test_is_skipped() {
    let ignore = ["#[ig", "nore"].concat();
    none(&everything(), |source| source.text.contains(&ignore).then(|| "skips a test".into()));
}

#[test]
fn sqlx_is_named_where_databases_are() {
    let folders = ["runtime/src/database/", "runtime/src/sql/", "runtime/src/consumer/"];
    // Fenced transactions are on the application's connections; `testing` makes a pool for its user; `check_back` and
    // `lib` name it in documentation only.
    let files = [
        "runtime/src/call/begin.rs",
        "runtime/src/call/enter.rs",
        "runtime/src/call/transaction.rs",
        "runtime/src/testing/recorder.rs",
    ];
    none(&sources("runtime/src"), |source| {
        let allowed = folders.iter().any(|folder| source.path.starts_with(folder))
            || files.contains(&source.path.as_str());
        (!allowed && source.code().contains("sqlx")).then(|| "names sqlx".into())
    });
    // The list is no longer than it must be.
    for place in folders.iter().chain(&files) {
        assert!(
            sources("runtime/src")
                .iter()
                .any(|source| source.path.starts_with(place) && source.code().contains("sqlx")),
            "{place} does not name sqlx"
        );
    }
}

#[test]
fn lapin_is_named_where_rabbitmq_is() {
    none(&sources("runtime/src"), |source| {
        let allowed = source.path.starts_with("runtime/src/broker/rabbitmq/");
        (!allowed && source.code().contains("lapin")).then(|| "names lapin".into())
    });
}

#[test]
fn statements_stand_where_databases_are() {
    let words = ["SELECT ", "INSERT INTO", "UPDATE tm_", "DELETE FROM"];
    none(&sources("runtime/src"), |source| {
        let allowed = source.path.starts_with("runtime/src/database/");
        let word = words.iter().find(|word| source.code().contains(**word));
        word.filter(|_| !allowed).map(|word| format!("has `{word}`"))
    });
}

#[test]
fn the_domain_and_the_rules_do_no_input_or_output() {
    // The model of the rules is a test, and prints.
    for folder in ["runtime/src/message", "runtime/src/rules"] {
        none(&sources(folder), |source| {
            ["async", "await", "tokio", "std::fs", "std::net"]
                .into_iter()
                .find(|word| source.code().contains(word))
                .map(|word| format!("has `{word}`"))
        });
    }
}

#[test]
fn generated_code_names_only_what_is_meant_for_it() {
    let expand: Vec<_> = sources("macros/src")
        .into_iter()
        .filter(|source| source.path.starts_with("macros/src/expand"))
        .collect();
    assert!(!expand.is_empty());
    let named = |source: &Source| source.code().matches("__private").count();
    assert!(expand.iter().map(named).sum::<usize>() > 0, "generated code names the runtime somewhere");
    none(&expand, |source| {
        let code = source.code();
        // Every path into the runtime begins with its crate's path, and goes on with `__private`.
        let path = code.match_indices("#crate_path").map(|(at, found)| &code[at + found.len()..]);
        let elsewhere =
            path.filter(|rest| rest.starts_with("::") && !rest.starts_with("::__private")).count();
        let by_name = code.contains("transactional_message");
        (elsewhere > 0 || by_name).then(|| "names the runtime outside of `__private`".into())
    });
}

#[test]
fn the_files_of_a_database_are_the_same_for_each() {
    let folder = root().join("runtime/src/database");
    let mut databases = Vec::new();
    for entry in fs::read_dir(folder).expect("reads").map(|entry| entry.expect("reads")) {
        if entry.file_type().expect("known").is_dir() {
            let mut files: Vec<_> = fs::read_dir(entry.path())
                .expect("reads")
                .map(|file| file.expect("reads").file_name())
                .collect();
            files.sort();
            databases.push((entry.file_name(), files));
        }
    }
    assert!(!databases.is_empty());
    for (name, files) in &databases {
        assert_eq!(*files, databases[0].1, "{name:?} and {:?} differ", databases[0].0);
    }
}

#[test]
fn every_statement_is_fixed_text() {
    // Values are bound; a statement that is put together at run time can be injected into. The one
    // file that does it writes nothing but digits, and has its own test for that.
    let exception = "runtime/src/database/literal.rs";
    let (literal, others): (Vec<_>, Vec<_>) =
        sources("runtime/src/database").into_iter().partition(|source| source.path == exception);
    assert_eq!(literal.len(), 1);
    none(&others, |source| {
        let code = source.code();
        let built =
            ["query(&format!", "query(format!", "raw_sql(&format!", "raw_sql(format!", "AssertSqlSafe"];
        built.into_iter().find(|call| code.contains(call)).map(|call| format!("has `{call}`"))
    });
}

#[test]
fn every_feature_is_documented() {
    let manifest = fs::read_to_string(root().join("runtime/Cargo.toml")).expect("reads");
    let (_, features) = manifest.split_once("[features]\n").expect("has features");
    let (features, _) = features.split_once("\n[").expect("and more");
    let names = features.lines().filter_map(|line| line.split_once(" = ").map(|(name, _)| name));
    let documentation = fs::read_to_string(root().join("runtime/src/lib.rs")).expect("reads");
    let rows: Vec<_> = documentation.lines().filter(|line| line.starts_with("//! | `")).collect();
    let public = |name: &&str| *name != "default" && !name.starts_with('_');
    for name in names.filter(public) {
        let is_named =
            |row: &&str| row.split('|').nth(1).is_some_and(|cell| cell.contains(&format!("`{name}`")));
        assert!(rows.iter().any(is_named), "the feature `{name}` has no row in runtime/src/lib.rs");
    }
}
