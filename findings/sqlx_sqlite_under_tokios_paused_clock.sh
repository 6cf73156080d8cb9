#!/usr/bin/env bash
# Guessed: a test with `start_paused = true` may use an in-memory SQLite database. There is no network, nothing waits for
#       time, so tokio's clock stands still while a query runs, and jumps only over the test's own sleeps.
# Seen: sqlx 0.9.0 works on SQLite in a thread of its own, of which tokio knows nothing. While the test waits for it, the
#       runtime is idle, and the clock jumps to the next timer: the pool's own `acquire_timeout` of 30 s. Whoever waits for a
#       connection that is busy for less than a second is told PoolTimedOut. Only a blocking task that runs meanwhile keeps
#       the clock from jumping.
#
# Needs Rust and a C compiler. Exits with 1 if sqlx or tokio behave otherwise.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf -- "$T"' EXIT
mkdir "$T/src"
cat >"$T/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
sqlx = { version = "=0.9.0", default-features = false, features = ["runtime-tokio", "sqlite"] }
tokio = { version = "=1.54.1", features = ["macros", "rt", "test-util", "time"] }

[workspace]
TOML
cat >"$T/src/main.rs" <<'RUST'
use std::time::Instant;

use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};

/// A moment of counting.
const SLOW: &str = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1000000) SELECT max(n) FROM n";
const TIMES: usize = 10;

async fn count(pool: &SqlitePool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(SLOW).fetch_one(pool).await
}

/// Two share one connection: whether one of them is told that there is none.
async fn is_timed_out() -> bool {
    let pool = SqlitePoolOptions::new().max_connections(1).connect_lazy("sqlite::memory:").expect("a URL");
    let (one, other) = tokio::join!(count(&pool), count(&pool));
    [one, other].iter().any(|counted| matches!(counted, Err(sqlx::Error::PoolTimedOut)))
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    let began = Instant::now();
    let mut alone = 0;
    for _ in 0..TIMES {
        alone += usize::from(is_timed_out().await);
    }
    let took = began.elapsed().as_secs_f64();
    println!("one connection, two queries: PoolTimedOut after 30 s in {alone} of {TIMES}, which took {took:.1} s in all");

    let (done, finished) = std::sync::mpsc::channel::<()>();
    let blocking = tokio::task::spawn_blocking(move || finished.recv());
    let mut beside = 0;
    for _ in 0..TIMES {
        beside += usize::from(is_timed_out().await);
    }
    drop(done);
    let _ = blocking.await;
    println!("the same beside a blocking task: {beside} of {TIMES}");
    std::process::exit(if alone == TIMES && beside == 0 && took < 30.0 { 0 } else { 1 });
}
RUST
echo "sqlx 0.9.0, tokio 1.54.1"
(cd "$T" && cargo build --quiet) || exit 2
"$T/target/debug/finding" && echo "as known" || { echo "otherwise than known"; exit 1; }
