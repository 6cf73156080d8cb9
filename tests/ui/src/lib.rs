//! Compile-time tests of the attribute:
//!
//! - `tests/pass.rs`, with the files in `pass/`: what can be annotated;
//! - `tests/compile.rs`, with the files in `fail/`: what can't, and what the compiler then says;
//! - `tests/lints.rs`: what the attribute generates, under the strictest lints.
//!
//! The library itself is what they share.

use std::fmt::Debug;

use tokio::runtime::Builder;
/// The runtime under another path, as a framework would re-export it.
pub use transactional_message as messages;
use transactional_message::{Error, ErrorKind};

/// Runs a call where there is no messenger. It is refused before its body begins, which shows that the
/// generated code is reached and passes our error on. The call has to be `Send`, as a server needs it.
///
/// # Panics
/// If the call ends in any other way.
#[track_caller]
pub fn refused<T: Debug>(call: impl Future<Output = Result<T, Error>> + Send) {
    let error = outcome_of(call).expect_err("there is no messenger");
    assert_eq!(error.kind(), ErrorKind::NoMessenger);
    assert!(!error.body_ran());
}

/// What a call ends with.
///
/// # Panics
/// If there is no runtime to be had.
pub fn outcome_of<T>(call: impl Future<Output = T> + Send) -> T {
    Builder::new_current_thread().build().expect("a runtime").block_on(call)
}
