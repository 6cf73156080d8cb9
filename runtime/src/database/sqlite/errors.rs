//! SQLite's errors, in the terms of the ports.

use crate::store::StoreError;

/// Primary result codes that say "not now": BUSY, LOCKED, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL.
const UNAVAILABLE: [i64; 8] = [5, 6, 8, 9, 10, 13, 14, 15];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let sqlx::Error::Database(database) = &error else {
            return Self::Unavailable(match error {
                sqlx::Error::PoolClosed => "the messenger has been shut down".to_owned(),
                error => format!("SQLite: {error}"),
            });
        };
        let text = format!("SQLite: {}", database.message());
        // Extended codes keep the primary one in their low byte.
        let code = database.code().and_then(|code| code.parse::<i64>().ok()).unwrap_or_default() & 0xff;
        if database.message().contains("no such table: tm_") || database.message().contains("no such column")
        {
            Self::Schema(format!("{text}; call `Messenger::migrate` first"))
        } else if UNAVAILABLE.contains(&code) {
            Self::Unavailable(text)
        } else {
            Self::Refused(text)
        }
    }
}
