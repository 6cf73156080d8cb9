#!/usr/bin/env bash
# Guessed: who asks information_schema.INNODB_TRX every 20 ms sees an open transaction within a few tries.
# Seen: MariaDB 10.11 answers from a copy that it takes anew only when nobody has asked for 0.1 s. Asked every 20 ms, the
#       view does not show a transaction that began after the first question, for as long as the asking goes on; after a
#       pause of 0.3 s it does. What polls faster than that waits forever: use the process list, or pause.
#
# Needs root (debootstrap, chroot) and Python 3. Exits with 1 if the view behaves otherwise.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
T=$(mktemp -d)
SERVER=
end() {
    if [ -n "$SERVER" ]; then kill -KILL -- "-$SERVER" 2>/dev/null || true; fi
    rm -rf -- "$T" 2>/dev/null || { sleep 1; rm -rf -- "$T"; }
}
trap end EXIT

echo "installing in a temporary folder"
debootstrap --variant=minbase --include=mariadb-server bookworm "$T/root" >"$T/log" 2>&1 || { tail "$T/log"; exit 2; }
python3 -m venv "$T/venv" && "$T/venv/bin/pip" install -q pymysql==1.1.2
VERSION=$(chroot "$T/root" dpkg-query -W -f '${Version}' mariadb-server)
echo "mariadb-server $VERSION, pymysql 1.1.2"
case $VERSION in 1:10.11.*) ;; *) echo "not the version that was looked at" >&2; exit 1 ;; esac

mkdir "$T/root/data"
echo "127.0.0.1 localhost" >"$T/root/etc/hosts"
chroot "$T/root" mariadb-install-db --force --user=root --datadir=/data --auth-root-authentication-method=normal >"$T/log" 2>&1 ||
    { tail "$T/log"; exit 2; }
setsid chroot "$T/root" mariadbd --no-defaults --user=root --pid-file=/data/pid --datadir=/data --skip-networking --socket=/data/socket >"$T/server.log" 2>&1 &
SERVER=$!
disown
for _ in $(seq 120); do
    grep -q "ready for connections" "$T/server.log" && break
    kill -0 "$SERVER" 2>/dev/null || break
    sleep 0.5
done
grep -q "ready for connections" "$T/server.log" || { tail "$T/server.log"; exit 2; }

"$T/venv/bin/python" - "$T/root/data/socket" <<'P'
import sys, time, pymysql

def connect():
    return pymysql.connect(unix_socket=sys.argv[1], user="root", autocommit=True).cursor()

looker, writer = connect(), connect()
writer.execute("CREATE DATABASE finding")
writer.execute("CREATE TABLE finding.t (id INT PRIMARY KEY) ENGINE=InnoDB")

def look():
    looker.execute("SELECT COUNT(*) FROM information_schema.INNODB_TRX")
    return looker.fetchone()[0]

before = look()
writer.execute("BEGIN")
writer.execute("INSERT INTO finding.t VALUES (1)")
polled = []
for _ in range(100):
    polled.append(look())
    time.sleep(0.02)
time.sleep(0.3)
rested = look()
print(f"before: {before}; with a transaction open, asked 100 times, 20 ms apart: {sum(polled)} times it was there;"
      f" after a pause of 0.3 s: {rested}")
sys.exit((before, sum(polled), rested) != (0, 0, 1))
P
