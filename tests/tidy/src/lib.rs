//! Reads the source tree: which file uses which, through re-exports.

pub mod imports;
mod modules;
mod paths;
