//! PostgreSQL's errors, in the terms of the ports.

use sqlx::postgres::PgDatabaseError;

use crate::store::StoreError;

/// Classes of SQLSTATE that say "not now": connection, authorization, transaction state and
/// rollback, resources, object in use (lock time-out), operator intervention, system.
const UNAVAILABLE: [&str; 9] = ["08", "25", "28", "3D", "40", "53", "55", "57", "58"];

/// Classes that say that the row itself is at fault: its data, a constraint, a limit. Only these are final.
const REFUSED: [&str; 3] = ["22", "23", "54"];

pub(crate) fn classify(error: &PgDatabaseError) -> StoreError {
    let code = error.code();
    let text = format!("PostgreSQL: {} ({code})", error.message());
    match code {
        // undefined_table, undefined_column, undefined_function, of ours.
        "42P01" | "42703" | "42883" if error.message().contains("tm_") => {
            StoreError::Schema(format!("{text}; call `Messenger::migrate` first"))
        }
        "42501" => StoreError::Schema(format!(
            "{text}: this user lacks a right; it needs SELECT, INSERT, UPDATE and DELETE on the tables tm_*, EXECUTE on the functions tm_*, and CREATE \
             to run `Messenger::migrate`"
        )),
        code if UNAVAILABLE.iter().any(|class| code.starts_with(class)) => StoreError::Unavailable(text),
        code if REFUSED.iter().any(|class| code.starts_with(class)) => StoreError::Refused(text),
        _ => StoreError::Unexpected(text),
    }
}
