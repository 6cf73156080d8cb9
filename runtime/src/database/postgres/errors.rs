//! PostgreSQL's errors, in the terms of the ports.

use std::borrow::Cow;

use sqlx::postgres::PgDatabaseError;

use crate::sql::Namespace;
use crate::store::StoreError;

/// Classes of SQLSTATE that say "not now": connection, authorization, transaction state and
/// rollback, resources, object in use (lock time-out), operator intervention, system.
const UNAVAILABLE: [&str; 9] = ["08", "25", "28", "3D", "40", "53", "55", "57", "58"];

/// Of these, what waited for others, or rolls back because of them: deadlock, serialization, lock time-out.
const CONTENDED: [&str; 2] = ["40", "55P03"];
/// Of these, what was not finished in time.
const TIMED_OUT: &str = "57014";

/// Classes that say that the row itself is at fault: its data, a constraint, a limit. Only these are final.
const REFUSED: [&str; 3] = ["22", "23", "54"];
/// `insufficient_privilege`
pub(super) const NO_RIGHT: &str = "42501";
/// What our tables and routines have in their names, whatever those begin with.
const OURS: [&str; 8] =
    ["_message", "_fence", "_inbox", "_schema", "_audit", "_process", "_pause", "_operation"];
/// What our functions say when their row is not in the transaction.
pub(super) const UNPROVEN: &str = "TMF02";

pub(super) fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code().map(Cow::into_owned))
}

/// A right that is missing on a connection of the application's, for the role that is set there at the moment.
pub(super) fn no_right(error: &sqlx::Error, namespace: &Namespace) -> StoreError {
    StoreError::Schema(format!(
        "{error}: the role of this connection (or the one that was SET in the transaction) lacks a right. \
         GRANT USAGE ON SCHEMA {namespace} and EXECUTE ON ALL ROUTINES IN SCHEMA {namespace} to it; the role that \
         begins transactions needs SELECT, INSERT, UPDATE and DELETE on the tables tm_* there, too"
    ))
}

pub(crate) fn classify(error: &PgDatabaseError) -> StoreError {
    let code = error.code();
    let text = format!("PostgreSQL: {} ({code})", error.message());
    match code {
        // undefined_table, undefined_column, undefined_function, of ours.
        "42P01" | "42703" | "42883" if OURS.iter().any(|ours| error.message().contains(ours)) => {
            StoreError::Schema(format!("{text}; call `Messenger::migrate` first"))
        }
        // undefined_schema
        "3F000" => StoreError::Schema(format!("{text}: was it dropped, or is this another database?")),
        NO_RIGHT => StoreError::Schema(format!(
            "{text}: this user lacks a right; it needs SELECT, INSERT, UPDATE and DELETE on the tables tm_*, EXECUTE on the routines tm_*, and CREATE \
             to run `Messenger::migrate`"
        )),
        code if CONTENDED.iter().any(|class| code.starts_with(class)) => StoreError::Contended(text),
        TIMED_OUT => StoreError::TimedOut(text),
        code if UNAVAILABLE.iter().any(|class| code.starts_with(class)) => StoreError::Unavailable(text),
        code if REFUSED.iter().any(|class| code.starts_with(class)) => StoreError::Refused(text),
        _ => StoreError::Unexpected(text),
    }
}
