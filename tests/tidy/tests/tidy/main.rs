//! The source tree keeps its own rules.

mod imports;
mod map;
mod monitoring;
mod text;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
