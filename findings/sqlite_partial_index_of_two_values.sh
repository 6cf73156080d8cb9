#!/usr/bin/env bash
# Guessed: a partial index on WHERE state IN (4, 5) serves WHERE state = 4, since that implies it; so it does on PostgreSQL.
# Seen: SQLite 3.40 does not see that the one implies the other, and reads the whole table, also where ORDER BY asks for the
#       newest few. Where both values are named as in the index, it takes it: state IN (4, 5) AND state = 4, or
#       state = 4 OR state = 5. PostgreSQL 15 takes the index for state = 4 alone.
#
# Needs root (debootstrap, chroot). Exits with 1 if one of them behaves otherwise.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
T=$(mktemp -d)
BIN=/usr/lib/postgresql/15/bin
end() {
    chroot --userspec=postgres "$T/root" "$BIN/pg_ctl" -D /data/db -m immediate stop >/dev/null 2>&1 || true
    rm -rf -- "$T" 2>/dev/null || { sleep 1; rm -rf -- "$T"; }
}
trap end EXIT

echo "installing in a temporary folder"
debootstrap --variant=minbase --include=postgresql-15,sqlite3 bookworm "$T/root" >"$T/log" 2>&1 || { tail "$T/log"; exit 2; }
for package in postgresql-15 sqlite3; do
    VERSION=$(chroot "$T/root" dpkg-query -W -f '${Version}' $package)
    echo "$package $VERSION"
    case $VERSION in 15.* | 3.40.*) ;; *) echo "not the version that was looked at" >&2; exit 1 ;; esac
done

TABLE='CREATE TABLE message (id INTEGER PRIMARY KEY, state INTEGER NOT NULL);
    CREATE INDEX waiting ON message (state, id) WHERE state IN (4, 5);'
# what is looked for
sqlite() { chroot "$T/root" sqlite3 :memory: "$TABLE EXPLAIN QUERY PLAN SELECT id FROM message WHERE $1 LIMIT 10"; }
expect() {
    printf '%s\n  %s\n' "$1" "$3"
    [[ $3 == $2 ]] || { echo "expected: $2" >&2; exit 1; }
}
expect 'SQLite, state = 4' '*SCAN message' "$(sqlite 'state = 4')"
expect 'SQLite, state = 4 ORDER BY id DESC' '*SCAN message' "$(sqlite 'state = 4 ORDER BY id DESC')"
expect 'SQLite, state = 4 OR state = 5' '*USING COVERING INDEX waiting (state=?)*' "$(sqlite '(state = 4 OR state = 5)')"
expect 'SQLite, state IN (4, 5) AND state = 4' '*USING COVERING INDEX waiting (state=?)*' "$(sqlite 'state IN (4, 5) AND state = 4')"

as_postgres() { chroot --userspec=postgres "$T/root" "$@"; }
install -d -o "$(chroot "$T/root" id -u postgres)" "$T/root/data"
as_postgres "$BIN/initdb" -D /data/db -A trust -E UTF8 --no-locale >"$T/log" 2>&1 || { tail "$T/log"; exit 2; }
as_postgres "$BIN/pg_ctl" -D /data/db -l /data/log -w start \
    -o "-c listen_addresses='' -c unix_socket_directories=/data -c dynamic_shared_memory_type=mmap" >"$T/log" 2>&1 ||
    { tail "$T/log" "$T/root/data/log"; exit 2; }
PLAN=$(as_postgres "$BIN/psql" -qAt -h /data -U postgres postgres <<SQL
$TABLE
INSERT INTO message SELECT n, CASE WHEN n % 1000 = 0 THEN 4 ELSE 3 END FROM generate_series(1, 100000) n;
ANALYZE message;
EXPLAIN (COSTS OFF) SELECT id FROM message WHERE state = 4 LIMIT 10;
SQL
)
expect 'PostgreSQL, state = 4' '*Index*waiting*' "$PLAN"
