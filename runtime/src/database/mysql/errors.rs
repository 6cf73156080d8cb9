//! MySQL's errors, in the terms of the ports.

use sqlx::mysql::MySqlDatabaseError;

use crate::store::StoreError;

/// "Not now": connections used up or refused, shutting down, locks, deadlocks, rows that others have changed
/// meanwhile, read-only, time-outs, full disks, killed sessions; a Galera node outside of its cluster (1047), a server in
/// `offline_mode` (3032).
const UNAVAILABLE: [u16; 28] = [
    1020, 1021, 1037, 1040, 1041, 1044, 1045, 1047, 1049, 1053, 1114, 1129, 1130, 1180, 1203, 1205, 1206,
    1213, 1226, 1290, 1317, 1792, 1836, 1927, 1969, 3024, 3032, 4031,
];
/// Of these, what waited for others, or was not finished in time.
const CONTENDED: [u16; 3] = [1020, 1205, 1213];
const TIMED_OUT: [u16; 2] = [1969, 3024];
/// Of these, what a server says that nobody may write to: a standby, or one outside of its cluster.
pub(crate) const WRITES_NOTHING: [u16; 4] = [1047, 1290, 1836, 3032];

/// The row itself is at fault: NULL, duplicate, too long for its column or for the server's packets, or with
/// characters or numbers that the column can't hold. Only these are final.
const REFUSED: [u16; 16] =
    [1048, 1062, 1118, 1153, 1264, 1265, 1267, 1300, 1366, 1406, 1690, 3140, 3819, 3854, 3988, 4025];

pub(crate) fn classify(error: &MySqlDatabaseError) -> StoreError {
    let number = error.number();
    let text = format!("MySQL: {} ({number})", error.message());
    match number {
        // ER_NO_SUCH_TABLE, ER_BAD_FIELD_ERROR
        1146 | 1054 => StoreError::Schema(format!("{text}; call `Messenger::migrate` first")),
        // ER_TABLEACCESS_DENIED_ERROR, ER_COLUMNACCESS_DENIED_ERROR
        1142 | 1143 => StoreError::Schema(format!(
            "{text}: this user lacks a right; it needs SELECT, INSERT, UPDATE and DELETE on the tables tm_*, and CREATE \
             to run `Messenger::migrate`"
        )),
        number if CONTENDED.contains(&number) => StoreError::Contended(text),
        number if TIMED_OUT.contains(&number) => StoreError::TimedOut(text),
        number if UNAVAILABLE.contains(&number) => StoreError::Unavailable(text),
        number if REFUSED.contains(&number) => StoreError::Refused(text),
        _ => StoreError::Unexpected(text),
    }
}
