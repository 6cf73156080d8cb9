//! Errors that say that a database was named wrongly.

use crate::error::{Error, ErrorKind};
#[cfg(any(feature = "postgres", feature = "mysql"))]
use crate::store::StoreError;

/// A database that was not opened: without a place for its tables, it can't be.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(super) fn not_opened(cause: StoreError, what: &str) -> Error {
    match cause {
        StoreError::Schema(why) => configuration(format!("{what}: {why}")),
        cause => cause.into_error(what),
    }
}

pub(super) fn configuration(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Configuration, message)
}
