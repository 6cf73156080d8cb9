//! Figures, for whoever runs the tests with `--nocapture`.

use std::fmt::Arguments;

/// Says one.
#[expect(clippy::print_stdout, reason = "that is what it is for")]
pub fn figure(text: Arguments<'_>) {
    println!("{text}");
}
