//! Integration tests: everything that the crate promises, on real databases.

mod conformance;
mod late_ok;
mod operator;
mod outage;
mod outcomes;
mod slow_body;
