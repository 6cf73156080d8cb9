//! What the documents link to is there: files, and in them the tests that prove what is said. The code that they
//! show from a file is in that file.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

const EXAMPLE: &str = "examples/payment-service/README.md";

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents at the root and the example's, with their paths.
fn documents() -> Vec<(String, String)> {
    let entries = fs::read_dir(root()).expect("reads").map(|entry| entry.expect("reads"));
    let documents = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "md"));
    let named = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().expect("UTF-8");
        (name, fs::read_to_string(entry.path()).expect("reads"))
    };
    documents.map(named).chain([(EXAMPLE.to_owned(), read(EXAMPLE))]).collect()
}

/// A link to a file of the project, and the test in it that is meant.
#[derive(Debug, PartialEq, Eq)]
struct Link<'a> {
    path: &'a str,
    test: Option<&'a str>,
}

impl<'a> Link<'a> {
    /// Of `path`, or `path "test"`; none if it leads elsewhere.
    fn read(target: &'a str) -> Option<Self> {
        let (path, title) =
            target.split_once(' ').map_or((target, None), |(path, title)| (path, Some(title)));
        let path = path.split('#').next().unwrap_or_default();
        let elsewhere = path.is_empty() || path.contains("://");
        (!elsewhere).then(|| Self { path, test: title.map(|title| title.trim_matches('"')) })
    }

    /// What is wrong with it, in this document.
    fn fault(&self, document: &str) -> Option<String> {
        let Self { path, test } = self;
        let file = root().join(document).with_file_name(path);
        if !file.exists() {
            return Some(format!("there is no {path}"));
        }
        let test = test.as_ref()?;
        let source = fs::read_to_string(file).expect("reads");
        let name = format!("fn {test}(");
        let is_test = source.match_indices(&name).any(|(at, _)| {
            let before = source[..at].trim_end_matches("async ").trim_end();
            before.ends_with(']') && before.lines().last().is_some_and(|line| line.contains("test"))
        });
        (!is_test).then(|| format!("there is no test `{test}` in {path}"))
    }
}

/// Links in the text, `[..](target)`, and below it, `[..]: target`.
fn links(text: &str) -> Vec<Link<'_>> {
    let within = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let below = text.lines().filter(|line| line.starts_with('[')).filter_map(|line| line.split("]: ").nth(1));
    within.chain(below).filter_map(Link::read).collect()
}

#[test]
fn links_lead_somewhere() {
    let documents = documents();
    let links: Vec<_> = documents
        .iter()
        .flat_map(|(name, text)| links(text).into_iter().map(move |link| (name, link)))
        .collect();
    assert!(links.iter().filter(|(_, link)| link.test.is_some()).count() > 20, "{links:?}");
    let wrong: Vec<_> = links
        .iter()
        .filter_map(|(name, link)| link.fault(name).map(|why| format!("{name}: {why}")))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_link_to_no_test_is_noticed() {
    for (target, why) in [
        ("nowhere.md", Some("there is no nowhere.md")),
        ("README.md", None),
        ("tests/it/tests/it/documents.rs \"links_lead_somewhere\"", None),
        (
            "tests/it/tests/it/documents.rs \"links\"",
            Some("there is no test `links` in tests/it/tests/it/documents.rs"),
        ),
        (
            "tests/it/tests/it/documents.rs \"gone\"",
            Some("there is no test `gone` in tests/it/tests/it/documents.rs"),
        ),
    ] {
        assert_eq!(Link::read(target).expect("a file").fault("README.md").as_deref(), why);
    }
}

#[test]
fn every_guarantee_names_the_test_that_proves_it() {
    let document = fs::read_to_string(root().join("RELIABILITY.md")).expect("reads");
    let (_, section) = document.split_once("## What is guaranteed").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("its end");
    let rows: Vec<_> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 15, "{rows:?}");
    for row in rows {
        let proofs: Vec<_> = row.split("][").skip(1).filter_map(|rest| rest.split(']').next()).collect();
        assert!(!proofs.is_empty(), "no test is named for: {row}");
        for proof in proofs {
            let test = section.lines().find_map(|line| line.strip_prefix(&format!("[{proof}]: ")));
            let test = test.and_then(Link::read).and_then(|link| link.test);
            assert!(test.is_some(), "[{proof}] is no test");
        }
    }
}

/// Whoever looks at it wants to know whether to read on.
#[test]
fn the_readme_is_short() {
    let readme = fs::read_to_string(root().join("README.md")).expect("reads");
    let lines = readme.lines().count();
    assert!(
        lines <= 160,
        "{lines} lines: what is for those who use it already belongs into another document"
    );
}

/// The blocks of a document that are marked with this language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("\n```{language}\n");
    text.split(&begin).skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}

/// What people copy from the document is what the tests run.
#[test]
fn the_examples_readme_shows_code_of_the_example() {
    let readme = read(EXAMPLE);
    let sources = ["payments", "accounting"].map(|side| {
        ["sqlite", "postgres"]
            .map(|database| read(&format!("examples/payment-service/src/{side}/{database}.rs")))
            .concat()
    });
    let blocks = blocks(&readme, "rust");
    assert!(!blocks.is_empty(), "{EXAMPLE} shows no code");
    for block in blocks {
        assert!(
            sources.iter().any(|source| source.contains(block)),
            "{EXAMPLE} shows what is not in the source:\n{block}"
        );
    }
}

/// The README says so; and the unit tests run on SQLite only.
#[test]
fn the_example_does_the_same_on_both_databases() {
    for side in ["payments", "accounting"] {
        let [sqlite, postgres] = ["sqlite", "postgres"].map(|database| {
            let source = read(&format!("examples/payment-service/src/{side}/{database}.rs"));
            let (_, after_tables) = source.split_once("\n\";\n").expect("the tables");
            let code = after_tables.split("#[cfg(test)]").next().unwrap_or_default();
            code.trim().replace("Sqlite", "Pg")
        });
        assert!(sqlite.contains("async fn"), "{sqlite}");
        assert_eq!(sqlite, postgres, "{side}: more differs than the tables and the names of types");
    }
}
