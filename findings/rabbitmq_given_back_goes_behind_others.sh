#!/usr/bin/env bash
# Guessed: a message that is taken by `basic.get` and given back (`basic.nack`, requeue) is where it was: a look at the first
#          messages of a queue changes nothing but a count.
# Seen: RabbitMQ 3.10.8 puts it behind all others where the quorum queue has no delivery limit; where it has one, behind all that
#       came back before: the second look at the first of three that were all looked at once makes it the last. Who wants
#       the order kept takes all, and gives all back at once.
#
# Needs root (debootstrap, chroot) and Python 3. Exits with 1 if a queue behaves otherwise.
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
python3 -m venv "$T/venv" && "$T/venv/bin/pip" install -q pika==1.3.2
mountpoint -q "$T/root/proc" || mount -t proc proc "$T/root/proc"
VERSION=$(chroot "$T/root" dpkg-query -W -f '${Version}' rabbitmq-server)
echo "rabbitmq-server $VERSION, pika 1.3.2"
case $VERSION in 3.10.8-*) ;; *) echo "not the version that was looked at" >&2; exit 1 ;; esac

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

"$T/venv/bin/python" - "$PORT" <<'P'
import sys, time, pika

connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(sys.argv[1])))

def look(channel, queue):
    """The next message; none when the queue stays empty for two seconds."""
    for _ in range(100):
        method, _, _ = channel.basic_get(queue)
        if method:
            return method
        time.sleep(0.02)

def order_after(queue, limit, looks):
    arguments = {"x-queue-type": "quorum", **({} if limit is None else {"x-delivery-limit": limit})}
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare(queue, durable=True, arguments=arguments)
    for body in (b"a", b"b", b"c"):
        channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2))
    for count in looks:
        for _ in range(count):
            look(channel, queue)
        channel.basic_nack(0, multiple=True, requeue=True)
        # Until everything is back.
        while channel.queue_declare(queue, passive=True).method.message_count < 3:
            time.sleep(0.02)
    order = b""
    while len(order) < 3:
        _, _, body = channel.basic_get(queue, auto_ack=True)
        order += body or b""
    return order.decode()

expected = {
    (None, (1,)): "bca", (None, (3,)): "abc", (None, (3, 1)): "bca",
    (1_000_000_000, (1,)): "abc", (1_000_000_000, (3,)): "abc", (1_000_000_000, (3, 1)): "bca",
}
seen = {}
for limit, looks in expected:
    order = order_after(f"{limit}-{looks}", limit, looks)
    seen[limit, looks] = order
    print(f"x-delivery-limit {limit}: a, b, c after looks at the first {looks}: {', '.join(order)}")
sys.exit(seen != expected)
P
