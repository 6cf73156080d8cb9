//! SQLite's errors, in the terms of the ports.

use sqlx::error::DatabaseError;
use sqlx::sqlite::SqliteError;

use crate::store::StoreError;

/// Primary result codes that say "not now": BUSY, LOCKED, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL.
const UNAVAILABLE: [i64; 8] = [5, 6, 8, 9, 10, 13, 14, 15];

/// Of these, what waits for others: BUSY, LOCKED.
const CONTENDED: [i64; 2] = [5, 6];

/// The row itself is at fault: TOOBIG, MISMATCH, and a CONSTRAINT, but for one that a trigger or a function of the
/// application's raises. Only these are final.
const REFUSED: [i64; 3] = [18, 19, 20];
const RAISED: [i64; 2] = [1811, 1043];

pub(crate) fn classify(error: &SqliteError) -> StoreError {
    let text = format!("SQLite: {}", error.message());
    // Extended codes keep the primary one in their low byte.
    let extended = error.code().and_then(|code| code.parse::<i64>().ok()).unwrap_or_default();
    let code = extended & 0xff;
    let message = error.message();
    let ours = message.contains("no such table: tm_") || message.contains("no such table: main.tm_");
    if ours || message.contains("no such column") {
        StoreError::Schema(format!("{text}; call `Messenger::migrate` first"))
    } else if CONTENDED.contains(&code) {
        StoreError::Contended(text)
    } else if UNAVAILABLE.contains(&code) {
        StoreError::Unavailable(text)
    } else if REFUSED.contains(&code) && !RAISED.contains(&extended) {
        StoreError::Refused(text)
    } else {
        StoreError::Unexpected(text)
    }
}
