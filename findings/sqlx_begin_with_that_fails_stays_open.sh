#!/usr/bin/env bash
# Guessed: when `Pool::begin_with` fails, the connection goes back to the pool as it was, outside a transaction. So it is
#       safe to send a first statement along with BEGIN, as for a tenant's setting or a lock.
# Seen: sqlx 0.9.0 counts a transaction only when the whole text has succeeded. If BEGIN succeeds and what follows it does
#       not, the transaction stays open on a connection that the pool takes for clean. On SQLite, the next borrower's
#       INSERT returns Ok, other connections do not see the row, and it is gone when the connection is closed. What is
#       sent along with BEGIN needs a rollback of one's own when it fails.
#
# Needs Rust and a C compiler. Exits with 1 if sqlx behaves otherwise.
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
tokio = { version = "=1.54.1", features = ["macros", "rt"] }

[workspace]
TOML
cat >"$T/src/main.rs" <<'RUST'
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

async fn rows(pool: &SqlitePool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(pool).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), sqlx::Error> {
    let file = SqliteConnectOptions::new().filename("finding.db").create_if_missing(true);
    let one = |file| SqlitePoolOptions::new().max_connections(1).connect_with(file);
    let pool = one(file.clone().pragma("journal_mode", "WAL")).await?;
    sqlx::raw_sql("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)").execute(&pool).await?;

    let begun = pool.begin_with("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").await;
    let Err(error) = begun else { panic!("a duplicate was accepted") };
    println!("begin_with: {error}");
    // The next borrower knows nothing of it.
    sqlx::query("INSERT INTO t VALUES (2)").execute(&pool).await?;
    let here = rows(&pool).await?;
    let others = one(file.clone()).await?;
    let elsewhere = rows(&others).await?;
    pool.close().await;
    let afterwards = rows(&others).await?;
    println!("rows, there is one more since an INSERT said Ok: {here} for its connection, {elsewhere} for others; {afterwards} after it was closed");
    std::process::exit(i32::from((here, elsewhere, afterwards) != (2, 1, 1)));
}
RUST
cd "$T"
cargo build -q --target-dir "$T/target" 2>"$T/log" || { tail "$T/log"; exit 2; }
grep -A1 '^name = "sqlx-sqlite"' Cargo.lock | tr '\n' ' '
echo
"$T/target/debug/finding"
