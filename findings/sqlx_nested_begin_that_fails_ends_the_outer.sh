#!/usr/bin/env bash
# Guessed: after a statement has failed in a transaction on PostgreSQL, everything on it fails until it is rolled back. An
#       attempt to open a nested transaction fails, too, and changes nothing about that.
# Seen: when sqlx 0.9.0 can't open the nested transaction, it rolls the outer one back and forgets it. The outer `Transaction`
#       can be used as before: what is executed on it from then on commits statement by statement, its `rollback` undoes
#       none of it, and its `commit` returns Ok. A caller that takes the error of the nested `begin` for a harmless one
#       loses what it had written before, and keeps what it writes afterwards.
#
# Needs root (debootstrap, chroot), Rust and a C compiler. Exits with 1 if sqlx behaves otherwise.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
T=$(mktemp -d)
chmod 755 "$T"
SERVER=
end() {
    if [ -n "$SERVER" ]; then kill -INT "$SERVER" 2>/dev/null || true; wait "$SERVER" 2>/dev/null || true; fi
    rm -rf -- "$T"
}
trap end EXIT

echo "installing in a temporary folder"
debootstrap --variant=minbase --include=postgresql-15 bookworm "$T/root" >"$T/log" 2>&1 || { tail "$T/log"; exit 2; }
echo "postgresql $(chroot "$T/root" dpkg-query -W -f '${Version}' postgresql-15)"
mkdir "$T/root/data" && chroot "$T/root" chown postgres /data
BIN=/usr/lib/postgresql/15/bin
chroot --userspec=postgres "$T/root" $BIN/initdb -A trust -D /data >"$T/log" 2>&1 || { tail "$T/log"; exit 2; }
chroot --userspec=postgres "$T/root" $BIN/postgres -D /data -c listen_addresses= -c unix_socket_directories=/data >"$T/server.log" 2>&1 &
SERVER=$!
for _ in $(seq 120); do
    grep -q "ready to accept connections" "$T/server.log" && break
    kill -0 "$SERVER" 2>/dev/null || { tail "$T/server.log"; exit 2; }
    sleep 0.5
done
chmod 755 "$T/root/data"

mkdir "$T/src"
cat >"$T/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
sqlx = { version = "=0.9.0", default-features = false, features = ["runtime-tokio", "postgres"] }
tokio = { version = "=1.54.1", features = ["macros", "rt"] }

[workspace]
TOML
cat >"$T/src/main.rs" <<'RUST'
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

async fn ids(connection: &mut PgConnection) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar("SELECT id FROM t ORDER BY id").fetch_all(connection).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), sqlx::Error> {
    let socket = std::env::args().nth(1).expect("a socket");
    let server = PgConnectOptions::new().socket(socket).username("postgres");
    let (mut connection, mut other) = (server.connect().await?, server.connect().await?);
    sqlx::raw_sql("CREATE TABLE t (id bigint)").execute(&mut other).await?;

    let mut tx = connection.begin().await?;
    sqlx::query("INSERT INTO t VALUES (1)").execute(&mut *tx).await?;
    let failed = sqlx::query("SELECT 1 / 0").execute(&mut *tx).await.is_err();
    let still_failed = sqlx::query("INSERT INTO t VALUES (2)").execute(&mut *tx).await.is_err();
    let nested = tx.begin().await.map(drop);
    println!("the nested begin: {}", nested.as_ref().map_or_else(ToString::to_string, |()| "Ok".into()));
    let inserted = sqlx::query("INSERT INTO t VALUES (3)").execute(&mut *tx).await.is_ok();
    let seen = ids(&mut other).await?;
    let rolled_back = tx.rollback().await.is_ok();
    let left = ids(&mut other).await?;
    println!("an INSERT in the outer one: Ok is {inserted}; others see {seen:?} before a rollback (Ok is {rolled_back}), and {left:?} after it");
    let as_seen = failed && still_failed && nested.is_err() && inserted && rolled_back && seen == [3] && left == [3];
    std::process::exit(i32::from(!as_seen));
}
RUST
cd "$T"
cargo build -q --target-dir "$T/target" 2>"$T/log" || { tail "$T/log"; exit 2; }
grep -A1 '^name = "sqlx-postgres"' Cargo.lock | tr '\n' ' '
echo
"$T/target/debug/finding" "$T/root/data"
