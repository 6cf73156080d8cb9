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

/// Durations as the tables have them. Never so long that a time plus one of them overflows.
#[cfg(feature = "_sql")]
fn millis(duration: Duration) -> i64 {
    const LONGEST: i64 = i64::MAX / 4;
    i64::try_from(duration.as_millis()).map_or(LONGEST, |millis| millis.min(LONGEST))
}

#[cfg(all(test, feature = "_sql"))]
mod tests {
    use super::*;

    #[test]
    fn the_longest_duration_fits_beside_a_time() {
        let now = millis(std::time::SystemTime::UNIX_EPOCH.elapsed().expect("later"));
        let long = [Duration::MAX, Duration::from_secs(u64::MAX / 1000), Duration::from_millis(u64::MAX / 2)];
        for duration in long {
            assert!(millis(duration) > now && now.checked_add(millis(duration)).is_some(), "{duration:?}");
        }
        assert_eq!(millis(Duration::from_millis(12_345)), 12_345);
    }
}
