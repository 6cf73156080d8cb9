#!/usr/bin/env bash
# Guessed: over TCP to the same machine, a statement that sqlx does not keep prepared (`persistent(false)`, or one that falls
#       out of the statement cache) costs one more round trip than one that it keeps: well under a millisecond.
# Seen: sqlx 0.9.0 closes such a statement by COM_STMT_CLOSE, which MySQL and MariaDB do not answer, and it leaves Nagle's
#       algorithm on. The next request waits until the server's side acknowledges the close, which Linux puts off for 40 ms
#       because there is no answer to send along. Fifty statements take two seconds instead of 20 ms. Over a Unix socket,
#       there is no such pause.
#
# Needs Rust, a C compiler, and MariaDB's server (mariadbd). Exits with 1 if sqlx behaves otherwise.
set -euo pipefail
export PATH=$PATH:/usr/sbin
T=$(mktemp -d)
PID=
trap '[ -z "$PID" ] || { kill "$PID"; wait "$PID" || :; }; rm -rf -- "$T"' EXIT
mkdir "$T/src"
cat >"$T/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
sqlx = { version = "=0.9.0", default-features = false, features = ["runtime-tokio", "mysql"] }
tokio = { version = "=1.54.1", features = ["macros", "rt"] }

[workspace]
TOML
cat >"$T/src/main.rs" <<'RUST'
use std::time::{Duration, Instant};

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{ConnectOptions, Connection};

async fn fifty(connection: &mut MySqlConnection, kept: bool) -> Result<Duration, sqlx::Error> {
    let began = Instant::now();
    for n in 0..50_i64 {
        let select = sqlx::query_scalar::<_, i64>("SELECT CAST(? AS SIGNED)").bind(n).persistent(kept);
        assert_eq!(select.fetch_one(&mut *connection).await?, n);
    }
    Ok(began.elapsed())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), sqlx::Error> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("an argument");
    let (port, socket) = (next().parse().expect("a port"), next());
    let options = MySqlConnectOptions::new().username("root");
    let mut tcp = options.clone().host("127.0.0.1").port(port).connect().await?;
    let mut local = options.socket(socket).connect().await?;
    let version: String = sqlx::query_scalar("SELECT version()").fetch_one(&mut tcp).await?;
    let (kept, closed) = (fifty(&mut tcp, true).await?, fifty(&mut tcp, false).await?);
    let by_socket = fifty(&mut local, false).await?;
    println!("{version}: 50 statements by TCP, kept: {kept:.1?}, closed: {closed:.1?}; by socket, closed: {by_socket:.1?}");
    tcp.close().await?;
    local.close().await?;
    std::process::exit(i32::from(closed < 5 * kept || closed < 5 * by_socket));
}
RUST
cd "$T"
cargo build -q --target-dir "$T/target" 2>"$T/log" || { tail "$T/log"; exit 2; }
PORT=$((20000 + RANDOM % 10000))
mariadb-install-db --user="$(id -un)" --datadir="$T/data" --auth-root-authentication-method=normal >"$T/log" 2>&1
mariadbd --no-defaults --user="$(id -un)" --datadir="$T/data" --bind-address=127.0.0.1 --port="$PORT" \
    --socket="$T/socket" >"$T/log" 2>&1 &
PID=$!
for _ in $(seq 300); do
    [ ! -S "$T/socket" ] || break
    kill -0 "$PID" || { tail "$T/log"; exit 2; }
    sleep 0.1
done
"$T/target/debug/finding" "$PORT" "$T/socket"
