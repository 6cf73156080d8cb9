#!/usr/bin/env bash
# Guessed: MOVE only changes a cursor's position. It returns no data, so the functions in the cursor's SELECT list are not
#       called.
# Seen: PostgreSQL 15 makes each row that it passes, and throws it away: the functions in the list are called once a row,
#       and what they change stays changed. MOVE 3 in a cursor with nextval() takes three numbers of the sequence; MOVE in one
#       with set_config() sets. (So MOVE is a way to run a planned SELECT that has nothing to say, without a round trip's rows.)
#
# Needs root (debootstrap, chroot). Exits with 1 if MOVE behaves otherwise.
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
debootstrap --variant=minbase --include=postgresql-15 bookworm "$T/root" >"$T/log" 2>&1 || { tail "$T/log"; exit 2; }
VERSION=$(chroot "$T/root" dpkg-query -W -f '${Version}' postgresql-15)
echo "postgresql-15 $VERSION"
case $VERSION in 15.*) ;; *) echo "not the version that was looked at" >&2; exit 1 ;; esac

as_postgres() { chroot --userspec=postgres "$T/root" "$@"; }
install -d -o "$(chroot "$T/root" id -u postgres)" "$T/root/data"
as_postgres "$BIN/initdb" -D /data/db -A trust -E UTF8 --no-locale >"$T/log" 2>&1 || { tail "$T/log"; exit 2; }
as_postgres "$BIN/pg_ctl" -D /data/db -l /data/log -w start \
    -o "-c listen_addresses='' -c unix_socket_directories=/data -c dynamic_shared_memory_type=mmap" >"$T/log" 2>&1 ||
    { tail "$T/log" "$T/root/data/log"; exit 2; }

SAID=$(as_postgres "$BIN/psql" -qAt -h /data -U postgres postgres <<'SQL'
CREATE SEQUENCE passed;
BEGIN;
DECLARE numbers CURSOR FOR SELECT nextval('passed') FROM generate_series(1, 10);
DECLARE setting CURSOR FOR SELECT set_config('finding.moved', 'yes', true);
MOVE 3 IN numbers;
SELECT last_value FROM passed;
MOVE IN setting;
SELECT current_setting('finding.moved', true);
COMMIT;
SQL
)
echo "nextval() after MOVE 3, and set_config() after MOVE:" $SAID
[ "$(echo $SAID)" = "3 yes" ]
