//! The command line as its users run it: the program itself, on real databases, and what it says.

#![allow(clippy::large_futures, reason = "tests: nobody waits for them by the thousand")]

mod dead;
mod doctor;
mod run;
mod scenarios;
mod usage;

/// The scenarios on each database.
macro_rules! on_each {
    ($($scenario:ident,)*) => {
        on_each!(mysql: it::MySqlDatabases, $($scenario,)*);
        on_each!(postgres: it::PostgresSchemas, $($scenario,)*);
        on_each!(sqlite: it::SqliteFiles, $($scenario,)*);
    };
    ($database:ident: $place:ty, $($scenario:ident,)*) => {
        mod $database {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $scenario() {
                    crate::scenarios::$scenario::<$place>().await;
                }
            )*
        }
    };
}

on_each! {
    a_parked_message_is_found_understood_and_confirmed,
    a_fence_is_shown_and_has_the_last_word,
    dead_messages_are_revived_by_their_ids,
}
