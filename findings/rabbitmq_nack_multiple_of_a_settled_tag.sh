#!/usr/bin/env bash
# Guessed: `basic.nack` with `multiple` gives back all that is outstanding up to its tag, whatever became of the tag itself: the
#          last tag that was delivered is a safe upper end. (So it is for `basic.ack`? It is not for that one, either.)
# Seen: RabbitMQ 3.10.8 ends the channel with 406, PRECONDITION_FAILED, "unknown delivery tag", where the message of that very tag
#       was settled before, though the ones before it are outstanding; nothing says that they were given back by the end of the
#       channel and not by the nack. The upper end must be outstanding itself; or be 0, which means all and always works.
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
import itertools, sys, time, pika

connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(sys.argv[1])))
names = (f"queue-{n}" for n in itertools.count(1))

def after(kind, settle):
    """What the broker says to `settle` of a, b and c, all outstanding, and how many messages are there afterwards."""
    queue = next(names)
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})
    for body in (b"a", b"b", b"c"):
        channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2))
    tags = []
    while len(tags) < 3:
        method, _, _ = channel.basic_get(queue)
        tags += [method.delivery_tag] if method else []
    said = "nothing"
    try:
        settle(channel, tags)
        # An answer, so that what was sent before it has been read.
        channel.basic_qos()
    except pika.exceptions.ChannelClosedByBroker as end:
        said = f"{end.reply_code} {end.reply_text}"
    looking = connection.channel()
    deadline, there = time.monotonic() + 5, -1
    while there < 2 and time.monotonic() < deadline:
        there = looking.queue_declare(queue, passive=True).method.message_count
        time.sleep(0.02)
    return said, there

def nack(upper):
    def settle(channel, tags):
        channel.basic_ack(tags[2])
        channel.basic_nack(upper(tags), multiple=True, requeue=True)
    return settle

def ack(channel, tags):
    channel.basic_nack(tags[2], requeue=True)
    channel.basic_ack(tags[2], multiple=True)

wrong = False
for kind in ("classic", "quorum"):
    for what, settle, ends in (
        ("ack of the last, then nack of all up to the last but one", nack(lambda tags: tags[1]), False),
        ("ack of the last, then nack of all (tag 0)", nack(lambda tags: 0), False),
        ("ack of the last, then nack of all up to the last", nack(lambda tags: tags[2]), True),
    ):
        said, there = after(kind, settle)
        print(f"{kind}: {what}: the broker says {said}; {there} messages are back")
        wrong |= ends != said.startswith("406") or there != 2
    said, there = after(kind, ack)
    print(f"{kind}: nack of the last, then ack of all up to the last: the broker says {said}; {there} messages are there")
    wrong |= not said.startswith("406")
sys.exit(wrong)
P
