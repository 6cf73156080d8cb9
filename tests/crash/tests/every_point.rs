//! The kill matrix as a test: every point, a few times each.

use std::process::Command;

#[test]
fn the_books_agree_after_a_kill_at_every_point() {
    let status = Command::new(env!("CARGO_BIN_EXE_crash")).args(["--rounds", "3"]).status().expect("starts");
    assert!(status.success(), "see the report above: {status}");
}
