//! What takes longest: a soak, and every point five times on each database, with RabbitMQ.

use std::thread;

use super::succeeds;

/// Five rounds: 21 points, and anywhere.
const KILLS: u32 = 110;

/// On servers of its own, which it harms. Tests begin in the order of their names: one that takes a minute and mostly
/// waits should not be the last.
#[test]
fn a_short_soak_on_postgres() {
    succeeds(&format!("soak --minutes 1 --database postgres --into {}", env!("CARGO_TARGET_TMPDIR")));
}

/// All at once: they mostly wait.
#[test]
fn every_point_on_every_database() {
    thread::scope(|scope| {
        for database in ["sqlite", "postgres", "mysql"] {
            let run = move || succeeds(&format!("--kills {KILLS} --broker rabbitmq --database {database}"));
            scope.spawn(run);
        }
    });
}

/// With delivery within the process, the consumer dies together with the relay.
#[test]
fn every_point_within_the_process() {
    succeeds("--kills 44 --database sqlite");
}
