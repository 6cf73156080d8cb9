//! Integration tests: everything that the crate promises, on real databases.

mod conformance;
mod late_ok;
mod outcomes;
mod slow_body;
