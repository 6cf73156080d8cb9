//! Files use each other in one direction: no circles, and between folders only what is in the table.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tidy::imports::Imports;

use crate::root;

/// What each folder of the runtime may use, besides what is used everywhere. It goes from the ground up: message, ports, what
/// is held and decided, calls, workers, consumers; adapters beside them, which know ports only; and the messenger, which
/// puts all of it together.
const MAY_USE: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("fault", &[]),
    ("in_turn", &[]),
    ("telemetry", &[]),
    ("message", &[]),
    ("settings", &["message"]),
    // The ports.
    ("store", &["message"]),
    ("transport", &["message"]),
    ("sql", &["message", "store"]),
    // What this process holds, and every decision.
    ("held", &["message", "settings", "store"]),
    ("rules", &["message", "settings", "store", "transport"]),
    ("check_back", &["message", "store"]),
    ("fence", &["message", "sql", "store"]),
    ("call", &["check_back", "fence", "held", "message", "rules", "settings", "sql", "store", "transport"]),
    (
        "worker",
        &["call", "check_back", "fence", "held", "message", "rules", "settings", "store", "transport"],
    ),
    ("consumer", &["check_back", "message", "settings", "sql", "store", "transport", "worker"]),
    // The adapters.
    ("database", &["fence", "message", "sql", "store"]),
    ("broker", &["message", "settings", "transport"]),
    (
        "messenger",
        &[
            "broker",
            "call",
            "check_back",
            "consumer",
            "database",
            "fence",
            "held",
            "message",
            "rules",
            "settings",
            "store",
            "transport",
            "worker",
        ],
    ),
    // Generated code, documentation, and what users test with.
    ("private", &["call"]),
    ("guide", &[]),
    (
        "testing",
        &[
            "broker",
            "call",
            "consumer",
            "database",
            "held",
            "message",
            "messenger",
            "sql",
            "store",
            "transport",
        ],
    ),
];
/// Used everywhere.
const GROUND: [&str; 4] = ["error", "fault", "in_turn", "telemetry"];

fn folder(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap_or_default()
}

/// Pairs of folders, with the arrows between their files.
fn between_folders(imports: &Imports) -> Vec<(&str, &str, String)> {
    let mut between = Vec::new();
    for (from, uses) in &imports.arrows {
        for (to, names) in uses {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            between.push((folder(from), folder(to), format!("{from} uses {to}: {}", names.join(", "))));
        }
    }
    between.retain(|(from, to, _)| from != to && *from != "lib" && !GROUND.contains(to));
    between
}

/// What the table does not allow.
fn against_the_direction(imports: &Imports) -> Vec<String> {
    let allowed = |from: &str, to: &str| {
        MAY_USE.iter().any(|(folder, may_use)| *folder == from && may_use.contains(&to))
    };
    between_folders(imports)
        .into_iter()
        .filter(|(from, to, _)| !allowed(from, to))
        .map(|(_, _, arrow)| arrow)
        .collect()
}

fn read(krate: &str) -> Imports {
    Imports::read(&root().join(krate).join("src")).expect("reads")
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    for krate in ["runtime", "macros"] {
        let imports = read(krate);
        assert!(imports.arrows.len() > 5 && imports.arrows.values().any(|uses| !uses.is_empty()));
        let circles = imports.circles();
        let arrows = circles.iter().flatten().flat_map(|file| {
            let within = imports.arrows[*file]
                .iter()
                .filter(|(to, _)| circles.iter().any(|circle| circle.contains(&to.as_str())));
            within.map(move |(to, names)| format!("{file} uses {to}: {names:?}"))
        });
        let arrows: Vec<_> = arrows.collect();
        assert!(arrows.is_empty(), "{krate} has circles:\n{}", arrows.join("\n"));
    }
}

#[test]
fn folders_use_what_the_table_allows() {
    let imports = read("runtime");
    let wrong = against_the_direction(&imports);
    assert!(wrong.is_empty(), "not in the table `MAY_USE`:\n{}", wrong.join("\n"));
    // The table is no longer than it must be, and no folder is missing.
    let between: BTreeSet<_> =
        between_folders(&imports).into_iter().map(|(from, to, _)| (from, to)).collect();
    for (from, may_use) in MAY_USE {
        for to in *may_use {
            assert!(between.contains(&(from, to)), "`{from}` does not use `{to}`: take it out of the table");
        }
    }
    let folders: BTreeSet<_> =
        imports.arrows.keys().map(|file| folder(file)).filter(|one| *one != "lib").collect();
    let named: BTreeSet<_> = MAY_USE.iter().map(|(folder, _)| *folder).collect();
    let (untold, gone): (Vec<_>, Vec<_>) =
        (folders.difference(&named).collect(), named.difference(&folders).collect());
    assert!(untold.is_empty() && gone.is_empty(), "not in the table: {untold:?}; not in the tree: {gone:?}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("writes");
    for entry in fs::read_dir(from).expect("reads").map(|entry| entry.expect("reads")) {
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("writes");
        }
    }
}

/// The runtime with a line more at the end of a file.
fn planted(file: &str, line: &str) -> Imports {
    let folder = tempfile::tempdir().expect("a folder");
    copy(&root().join("runtime/src"), folder.path());
    let file = folder.path().join(file);
    let text = fs::read_to_string(&file).expect("reads");
    fs::write(&file, format!("{text}\n{line}\n")).expect("writes");
    Imports::read(folder.path()).expect("reads")
}

#[test]
fn a_planted_import_is_found() {
    for (file, line) in [
        // By its own path, through the crate's re-export, through a module's, by a glob, without `use`, in a macro.
        ("transport/mod.rs", "use crate::settings::Backoff as _B;"),
        ("transport/mod.rs", "use crate::Backoff as _B;"),
        ("held/mod.rs", "use crate::call::Call as _C;"),
        ("store/mod.rs", "use crate::worker::alone::*; type A = Alone;"),
        ("transport/mod.rs", "use crate::sql::MadeByAMacro as _M;"),
        ("message/mod.rs", "fn f() -> Option<crate::Messenger> { None }"),
        ("rules/answer.rs", "fn f() { println!(\"{:?}\", crate::held::lease::Leases::new()); }"),
    ] {
        let wrong = against_the_direction(&planted(file, line));
        assert!(wrong.iter().any(|arrow| arrow.starts_with(file)), "{file}, {line}: {wrong:?}");
    }
    assert!(against_the_direction(&planted("message/mod.rs", "")).is_empty());
}

#[test]
fn a_planted_circle_is_found() {
    for (file, line) in [
        ("held/lease.rs", "use super::HeldStore as _H;"),
        ("call/scope.rs", "use super::ticket::Ticket as _T;"),
        ("database/mysql/write.rs", "use super::store::MySqlStore as _S;"),
    ] {
        let imports = planted(file, line);
        let circles = imports.circles();
        assert!(circles.iter().any(|circle| circle.contains(&file)), "{file}, {line}: {circles:?}");
    }
}
