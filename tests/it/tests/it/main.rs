//! Integration tests: everything that the crate promises, on real databases.

mod conformance;
mod outcomes;
