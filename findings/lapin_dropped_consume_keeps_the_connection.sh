#!/usr/bin/env bash
# Guessed: lapin closes a connection when its last handle is dropped, and with it a consumer: a future that was cancelled
#       while it set one up leaves nothing behind.
# Seen: lapin 4.12.3 does so, but not if what was dropped was a `basic_consume` that waited for its answer. The connection
#       stays open, and so does the consumer: RabbitMQ hands it messages, which nobody has and nobody else gets for as long as
#       the program runs. After `Connection::close` they are there again.
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

use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::time::sleep;

async fn connect(url: &str) -> Connection {
    Connection::connect(url, ConnectionProperties::default()).await.expect("connects")
}

async fn consume(channel: &Channel, queue: &str) {
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    channel.basic_consume(queue.into(), "".into(), options, arguments).await.expect("consumes");
}

/// Ready messages and consumers, five seconds after a message was published.
async fn left(channel: &Channel, queue: &str) -> (u32, u32) {
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    channel.basic_publish("".into(), queue.into(), options, b"x", properties).await.expect("publishes");
    sleep(Duration::from_secs(5)).await;
    look(channel, queue).await
}

async fn look(channel: &Channel, queue: &str) -> (u32, u32) {
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare(queue.into(), options, FieldTable::default()).await.expect("is there");
    (queue.message_count(), queue.consumer_count())
}

#[tokio::main]
async fn main() {
    let url = std::env::args().nth(1).expect("a URL");
    let own = connect(&url).await;
    let channel = own.create_channel().await.expect("a channel");
    for queue in ["finished", "dropped", "closed"] {
        channel.queue_declare(queue.into(), QueueDeclareOptions::default(), FieldTable::default()).await.expect("declares");
    }
    let other = connect(&url).await;
    consume(&other.create_channel().await.expect("a channel"), "finished").await;
    drop(other);
    let finished = left(&channel, "finished").await;

    let mut kept = None;
    for queue in ["dropped", "closed"] {
        let other = connect(&url).await;
        let theirs = other.create_channel().await.expect("a channel");
        // Begun, and dropped.
        tokio::select! {
            biased;
            () = consume(&theirs, queue) => panic!("answered at once"),
            () = std::future::ready(()) => {}
        }
        drop(theirs);
        if queue == "closed" { kept = Some(other) }
    }
    let dropped = left(&channel, "dropped").await;
    kept.expect("one").close(200, "".into()).await.expect("closes");
    let closed = left(&channel, "closed").await;
    println!("(ready messages, consumers) once all handles were dropped: {finished:?} if the answer was waited for, {dropped:?} if not; {closed:?} after `close`");
    std::process::exit(i32::from((finished, dropped, closed) != ((1, 0), (0, 1), (1, 0))));
}
RUST
cd "$T"
cargo build -q --target-dir "$T/target" 2>"$T/log" || { tail "$T/log"; exit 2; }
grep -A1 '^name = "lapin"' Cargo.lock | tr '\n' ' '
echo
"$T/target/debug/finding" "amqp://guest:guest@127.0.0.1:$PORT"
