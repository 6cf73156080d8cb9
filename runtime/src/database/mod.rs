//! The databases: all SQL of one of them in one folder, the same file set in each.

#[cfg(feature = "_sql")]
mod errors;
#[cfg(feature = "_sql")]
mod ids;
#[cfg(feature = "_sql")]
mod literal;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod login;
#[cfg(feature = "mysql")]
pub(crate) mod mysql;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod network;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod refusal;
#[cfg(feature = "_sql")]
mod row;
#[cfg(feature = "_sql")]
mod schema_part;
#[cfg(feature = "_sql")]
mod scripts;
mod source;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod url;
#[cfg(feature = "sqlite")]
mod write_queue;

use std::time::Duration;
#[cfg(feature = "_sql")]
use std::time::SystemTime;

#[cfg(feature = "_sql")]
pub use schema_part::TablePart;
#[cfg(feature = "_sql")]
pub use scripts::Script;
pub use source::DatabaseSource;
#[cfg(feature = "_sql")]
use uuid::{Builder, Uuid};

/// Durations as the tables have them. Never so long that a time plus one of them overflows.
#[cfg(feature = "_sql")]
fn millis(duration: Duration) -> i64 {
    const LONGEST: i64 = i64::MAX / 4;
    i64::try_from(duration.as_millis()).map_or(LONGEST, |millis| millis.min(LONGEST))
}

/// Times as the tables have them.
#[cfg(feature = "_sql")]
fn epoch_millis(time: SystemTime) -> i64 {
    millis(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// The lowest id that a message can have that was made so long ago: ids begin with their time.
#[cfg(feature = "_sql")]
fn first_id(age: Duration) -> Uuid {
    let made = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().saturating_sub(age);
    Builder::from_unix_timestamp_millis(millis(made).unsigned_abs(), &[0; 10]).into_uuid()
}

#[cfg(all(test, feature = "_sql"))]
mod tests {
    use uuid::Timestamp;

    use super::*;

    #[test]
    fn the_longest_duration_fits_beside_a_time() {
        let now = millis(SystemTime::UNIX_EPOCH.elapsed().expect("later"));
        let long = [Duration::MAX, Duration::from_secs(u64::MAX / 1000), Duration::from_millis(u64::MAX / 2)];
        for duration in long {
            assert!(millis(duration) > now && now.checked_add(millis(duration)).is_some(), "{duration:?}");
        }
        assert_eq!(millis(Duration::from_millis(12_345)), 12_345);
    }

    #[test]
    fn ids_of_messages_are_in_the_order_of_their_age() {
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("later").as_secs();
        let id = Uuid::new_v7(Timestamp::from_unix(uuid::NoContext, now - 60, 0));
        let first_id = |seconds| first_id(Duration::from_secs(seconds));
        assert!(first_id(u64::MAX) < first_id(70) && first_id(70) < id && id < first_id(50));
    }
}
