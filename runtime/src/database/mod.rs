//! The databases: all SQL of one of them in one folder, the same file set in each.

#[cfg(feature = "_sql")]
mod errors;
#[cfg(feature = "postgres")]
mod literal;
#[cfg(feature = "mysql")]
pub(crate) mod mysql;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod network;
#[cfg(feature = "_sql")]
mod part;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "_sql")]
mod row;
mod source;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
#[cfg(feature = "sqlite")]
mod turns;

use std::time::Duration;

pub use source::DatabaseSource;

/// Durations as the tables have them.
#[cfg(feature = "_sql")]
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}
