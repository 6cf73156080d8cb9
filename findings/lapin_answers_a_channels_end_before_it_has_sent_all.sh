#!/usr/bin/env bash
# Guessed: what a broker refuses by ending a channel costs that channel alone: RabbitMQ drops what still arrives on it until
#       lapin has answered, and the other channels of the connection go on. (So it is where publishes are awaited one by one.)
# Seen: lapin 4.12.3 sends its answer before the publishes that it has queued, which then come on a channel that is not open any
#       more: RabbitMQ ends the whole connection with 504, CHANNEL_ERROR, "expected 'channel.open'", and a message that waits
#       for its confirm on another channel fails with that text.
#
# Needs root (debootstrap, chroot), Python 3, Rust and a C compiler. Exits with 1 if lapin behaves otherwise.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
T=$(mktemp -d)
SERVER=
end() {
    if [ -n "$SERVER" ]; then kill -KILL -- "-$SERVER" 2>/dev/null || true; fi
    umount "$T/root/proc" 2>/dev/null || true
    rm -rf -- "$T" 2>/dev/null || { sleep 1; rm -rf -- "$T"; }
}
trap end EXIT

echo "installing in a temporary folder"
debootstrap --variant=minbase --include=rabbitmq-server bookworm "$T/root" >"$T/log" 2>&1 || { tail "$T/log"; exit 2; }
mountpoint -q "$T/root/proc" || mount -t proc proc "$T/root/proc"
VERSION=$(chroot "$T/root" dpkg-query -W -f '${Version}' rabbitmq-server)
echo "rabbitmq-server $VERSION"

read -r PORT DIST EPMD < <(python3 - <<'P'
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*[s.getsockname()[1] for s in sockets])
P
)
mkdir "$T/root/data"
echo "127.0.0.1 localhost" >"$T/root/etc/hosts"
setsid env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/data LC_ALL=C.UTF-8 \
    RABBITMQ_NODENAME="finding@localhost" RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$PORT" \
    RABBITMQ_DIST_PORT="$DIST" ERL_EPMD_PORT="$EPMD" ERL_EPMD_ADDRESS=127.0.0.1 \
    RABBITMQ_MNESIA_BASE=/data/mnesia RABBITMQ_LOG_BASE=/data/logs RABBITMQ_LOGS=- RABBITMQ_CONF_ENV_FILE=/dev/null \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}" \
    chroot "$T/root" sh -c 'epmd & exec /usr/lib/rabbitmq/bin/rabbitmq-server' >"$T/server.log" 2>&1 &
SERVER=$!
disown
for _ in $(seq 120); do
    grep -q "Server startup complete" "$T/server.log" && break
    kill -0 "$SERVER" 2>/dev/null || break
    sleep 0.5
done
grep -q "Server startup complete" "$T/server.log" || { tail "$T/server.log"; exit 2; }

mkdir "$T/src"
cat >"$T/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
lapin = { version = "=4.12.3", default-features = false, features = ["tokio"] }
tokio = { version = "=1.54.1", features = ["macros", "rt-multi-thread", "time"] }

[workspace]
TOML
cat >"$T/src/main.rs" <<'RUST'
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Error};
use tokio::task::JoinSet;
use tokio::time::sleep;

const LARGE: usize = 1 << 20;

async fn publish(channel: &Channel, exchange: &str, key: &str, bytes: usize) -> Result<(), Error> {
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let confirm = channel.basic_publish(exchange.into(), key.into(), options, &vec![b'x'; bytes], properties).await?;
    confirm.await.map(drop)
}

async fn confirming(connection: &Connection) -> Channel {
    let channel = connection.create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    channel
}

/// Publishes to an exchange that is not there, and this many messages to a queue right after it. What becomes of the other
/// channels of the connection.
async fn others_after(url: &str, more: usize) -> Result<(), Error> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("connects");
    let (channel, other) = (confirming(&connection).await, confirming(&connection).await);
    channel.queue_declare("there".into(), QueueDeclareOptions::default(), FieldTable::default()).await.expect("declares");
    let mut publishing = JoinSet::new();
    for n in 0..=more {
        let (channel, exchange) = (channel.clone(), if n == 0 { "missing" } else { "" });
        publishing.spawn(async move { publish(&channel, exchange, "there", LARGE).await });
    }
    let ending = async {
        while publishing.join_next().await.is_some() {}
        sleep(Duration::from_secs(1)).await;
    };
    let others = async {
        loop {
            publish(&other, "", "there", 1).await?;
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        ended = others => ended,
        () = ending => Ok(()),
    }
}

#[tokio::main]
async fn main() {
    let url = std::env::args().nth(1).expect("a URL");
    let alone = others_after(&url, 0).await;
    println!("after one message to a missing exchange, another channel publishes: {alone:?}");
    // How far lapin is when the broker ends the channel is chance.
    let mut seen = None;
    for tried in 1..=50 {
        if let Err(error) = others_after(&url, 64).await && error.to_string().contains("expected 'channel.open'") {
            seen = Some((tried, error));
            break;
        }
    }
    if let Some((tried, error)) = &seen {
        println!("after one to a missing exchange and 64 more, at try {tried}: {error}");
    }
    std::process::exit(i32::from(alone.is_err() || seen.is_none()));
}
RUST
cd "$T"
cargo build -q --target-dir "$T/target" 2>"$T/log" || { tail "$T/log"; exit 2; }
grep -A1 '^name = "lapin"' Cargo.lock | tr '\n' ' '
echo
"$T/target/debug/finding" "amqp://guest:guest@127.0.0.1:$PORT"
