//! The kill matrix, the directed scenarios, and the bugs that they must find.
//!
//! On real servers, whose URLs the environment has: `cargo run -p services -- run -- cargo test -p crash`.

mod matrix;
mod planted;
mod scenarios;

use std::process::{Command, Output};

/// Runs the command, with a bug or without one. What a failed run leaves is of no use here.
fn crash(arguments: &str, bug: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crash"));
    command.args(arguments.split(' ')).arg("--discard").env_remove("TM_BUG");
    if let Some(bug) = bug {
        command.env("TM_BUG", bug);
    }
    command.output().expect("starts")
}

/// Everything that it said.
fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said)).join("\n")
}

#[track_caller]
fn succeeds(arguments: &str) {
    let output = crash(arguments, None);
    let said = said(&output);
    assert!(output.status.success(), "crash {arguments}\n{said}");
}
