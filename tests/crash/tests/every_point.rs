//! The kill matrix as a test: every point, five times on each database, with RabbitMQ.

use std::process::Command;

use transactional_message::fault::POINTS;

/// How often each point is died at.
const TIMES: usize = 5;

fn the_books_agree(database: &str) {
    let kills = (POINTS.len() * TIMES).to_string();
    let status = Command::new(env!("CARGO_BIN_EXE_crash"))
        .args(["--database", database, "--broker", "rabbitmq", "--kills", &kills])
        .status()
        .expect("starts");
    assert!(status.success(), "see the report above: {status}");
}

#[test]
fn the_books_agree_after_kills_at_every_point_on_sqlite() {
    the_books_agree("sqlite");
}

#[test]
fn the_books_agree_after_kills_at_every_point_on_postgresql() {
    the_books_agree("postgres");
}

#[test]
fn the_books_agree_after_kills_at_every_point_on_mysql() {
    the_books_agree("mysql");
}
