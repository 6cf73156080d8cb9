//! The command line as its users run it: the program itself, on real databases, and what it says.

#![allow(clippy::large_futures, reason = "tests: nobody waits for them by the thousand")]

mod alerts;
mod dead;
mod doctor;
mod operations;
mod pause;
mod rules;
mod run;
mod scenarios;
mod terminal;
mod unseen_limit;
mod upkeep;
mod usage;

/// The scenarios on each database.
macro_rules! on_each {
    ($($module:ident::$scenario:ident,)*) => {
        on_each!(mysql: it::MySqlDatabases, $($module::$scenario,)*);
        on_each!(postgres: it::PostgresSchemas, $($module::$scenario,)*);
        on_each!(sqlite: it::SqliteFiles, $($module::$scenario,)*);
    };
    ($database:ident: $place:ty, $($module:ident::$scenario:ident,)*) => {
        mod $database {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $scenario() {
                    crate::$module::$scenario::<$place>().await;
                }
            )*
        }
    };
}

on_each! {
    alerts::every_alert_leads_to_the_message_and_the_decision,
    operations::many_messages_are_decided_after_a_preview,
    operations::an_operation_goes_on_after_a_kill_and_decides_none_twice,
    operations::an_operation_is_stopped_from_anywhere,
    operations::an_interruption_stops_an_operation,
    operations::what_needs_a_fence_that_is_elsewhere_is_left_and_the_rest_is_done,
    pause::what_is_paused_is_said_everywhere_and_goes_on,
    pause::nobody_is_missed_while_check_backs_are_paused,
    scenarios::a_parked_message_is_found_understood_and_confirmed,
    scenarios::a_fence_is_shown_and_has_the_last_word,
    scenarios::dead_messages_are_revived_by_their_ids,
    upkeep::a_question_is_asked_now_and_what_becomes_of_it_is_seen,
    upkeep::what_is_old_is_deleted_when_that_is_asked_for,
}
