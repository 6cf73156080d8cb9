#!/usr/bin/env bash
# Guessed: messages to a quorum queue that has lost its majority wait for their confirms; messages that are published on the same
#          channel to other queues are confirmed as always.
# Seen: RabbitMQ 3.10.8 stands still on that channel: nothing that was published behind it, to whatever queue, is confirmed, and
#       not even a `basic.qos` is answered, for half a minute and longer. (In other clusters it was 10 s for each such message, which
#       was then refused.) Other channels go on.
#
# Needs root (debootstrap, chroot) and Python 3. Exits with 1 if a queue behaves otherwise.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
T=$(mktemp -d)
SERVERS=
end() {
    for server in $SERVERS; do kill -KILL -- "-$server" 2>/dev/null || true; done
    umount "$T/root/proc" 2>/dev/null || true
    rm -rf -- "$T" 2>/dev/null || { sleep 1; rm -rf -- "$T"; }
}
trap end EXIT

echo "installing in a temporary folder"
debootstrap --variant=minbase --include=rabbitmq-server bookworm "$T/root" >"$T/log" 2>&1 || { tail "$T/log"; exit 2; }
python3 -m venv "$T/venv" && "$T/venv/bin/pip" install -q pika==1.3.2
mountpoint -q "$T/root/proc" || mount -t proc proc "$T/root/proc"
VERSION=$(chroot "$T/root" dpkg-query -W -f '${Version}' rabbitmq-server)
echo "rabbitmq-server $VERSION, pika 1.3.2"
case $VERSION in 3.10.8-*) ;; *) echo "not the version that was looked at" >&2; exit 1 ;; esac

read -r PORT_A PORT_B PORT_C DIST_A DIST_B DIST_C EPMD < <(python3 - <<'P'
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(7)]
print(*[s.getsockname()[1] for s in sockets])
P
)
mkdir "$T/root/data"
echo "127.0.0.1 localhost" >"$T/root/etc/hosts"
# inside NAME PORT DIST COMMAND: runs it as that node, or against it.
inside() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/data LC_ALL=C.UTF-8 \
        RABBITMQ_NODENAME="$1@localhost" RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$2" \
        RABBITMQ_DIST_PORT="$3" ERL_EPMD_PORT="$EPMD" ERL_EPMD_ADDRESS=127.0.0.1 \
        RABBITMQ_MNESIA_BASE=/data/mnesia RABBITMQ_LOG_BASE=/data/logs RABBITMQ_LOGS=- RABBITMQ_CONF_ENV_FILE=/dev/null \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}" \
        chroot "$T/root" "${@:4}"
}
start() {
    (exec setsid bash -c "$(declare -f inside); T='$T' EPMD=$EPMD; inside $1 $2 $3 /usr/lib/rabbitmq/bin/rabbitmq-server") >"$T/$1.log" 2>&1 &
    SERVERS="$SERVERS $!"
    disown
    for _ in $(seq 120); do
        grep -q "Server startup complete" "$T/$1.log" && return
        sleep 0.5
    done
    tail "$T/$1.log"
    exit 2
}
(exec setsid bash -c "$(declare -f inside); T='$T' EPMD=$EPMD; inside x 0 0 epmd") >"$T/epmd.log" 2>&1 &
SERVERS=$!
disown
start a "$PORT_A" "$DIST_A"
start b "$PORT_B" "$DIST_B"
B=${SERVERS##* }
start c "$PORT_C" "$DIST_C"
C=${SERVERS##* }
# join NAME PORT DIST
join() {
    for step in stop_app "join_cluster a@localhost" start_app; do
        # shellcheck disable=SC2086
        inside "$@" /usr/lib/rabbitmq/bin/rabbitmqctl -q $step >"$T/log" 2>&1 || { cat "$T/log"; exit 2; }
    done
}
join b "$PORT_B" "$DIST_B"
join c "$PORT_C" "$DIST_C"

"$T/venv/bin/python" - "$PORT_A" "$B" "$C" <<'P'
import os, signal, sys, threading, time, pika

port, *others = map(int, sys.argv[1:])

def connect():
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, heartbeat=0))

connection = connect()
channel = connection.channel()
for queue, nodes in (("on-all", 3), ("on-one", 1)):
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum", "x-quorum-initial-group-size": nodes})
for node in others:
    os.killpg(node, signal.SIGKILL)

def timed(queues):
    """How long a publish to each in turn, and then a basic.qos, take; and which were refused. On one channel, all at once."""
    connection = connect()
    channel = connection.channel()
    refused, answered = [], {}
    began = time.monotonic()
    pending = set(range(1, len(queues) + 1))

    def confirmed(frame):
        upto, several = frame.method.delivery_tag, frame.method.multiple
        for tag in [tag for tag in pending if tag == upto or several and tag < upto]:
            pending.discard(tag)
            answered[tag] = time.monotonic() - began
            if frame.method.NAME == "Basic.Nack":
                refused.append(queues[tag - 1])

    implementation = channel._impl
    implementation.confirm_delivery(confirmed, lambda frame: None)
    qos = []
    for queue in queues:
        implementation.basic_publish("", queue, b"x", pika.BasicProperties(delivery_mode=2))
    implementation.basic_qos(prefetch_count=1, callback=lambda frame: qos.append(time.monotonic() - began))
    another = connect()
    begun = time.monotonic()
    another.channel().queue_declare("on-one", passive=True)
    elsewhere = time.monotonic() - begun
    while (pending or not qos) and time.monotonic() - began < 30:
        connection.process_data_events(time_limit=1)
    times = ", ".join(f"{queue} {answered.get(n, float('inf')):.0f} s" for n, queue in enumerate(queues, 1))
    print(f"confirms: {times}; qos {qos[0] if qos else float('inf'):.0f} s; elsewhere {elsewhere:.1f} s; refused: {refused}")
    return [answered.get(n, 99) for n in range(1, len(queues) + 1)], qos[0] if qos else 99, elsewhere, refused

well, qos, _, refused = timed(["on-one", "on-one", "on-one"])
wrong = max(*well, qos) > 5 or refused != []
times, qos, elsewhere, _ = timed(["on-all", "on-all", "on-one"])
# Twice the 10 s, at least, or no answer at all.
wrong |= min(times[2], qos) < 18 or elsewhere > 5
sys.exit(wrong)
P
