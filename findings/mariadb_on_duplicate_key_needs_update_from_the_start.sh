#!/usr/bin/env bash
# Guessed: INSERT … ON DUPLICATE KEY UPDATE id = id, the usual way to insert a row unless it is there, needs the right to update
#       only where it finds a duplicate; a user with SELECT and INSERT can use it on a table to which rows are only ever added.
# Seen: MariaDB 10.11 refuses it before it looks (1142, UPDATE command denied), also into an empty table. INSERT IGNORE, and
#       INSERT … SELECT … WHERE NOT EXISTS, do with the two rights; INSERT IGNORE also cuts texts that are too long.
#       PostgreSQL's ON CONFLICT DO NOTHING does with SELECT and INSERT as well, so the same audit table takes rows there.
#
# Needs root (debootstrap, chroot). Exits with 1 if it behaves otherwise.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
T=$(mktemp -d)
end() {
    if [ -s "$T/root/data/pid" ]; then kill -KILL "$(cat "$T/root/data/pid")" 2>/dev/null || true; fi
    rm -rf -- "$T" 2>/dev/null || { sleep 1; rm -rf -- "$T"; }
}
trap end EXIT

echo "installing in a temporary folder"
debootstrap --variant=minbase --include=mariadb-server-core,mariadb-client-core bookworm "$T/root" >"$T/log" 2>&1 ||
    { tail "$T/log"; exit 2; }
VERSION=$(chroot "$T/root" dpkg-query -W -f '${Version}' mariadb-server-core)
echo "mariadb-server-core $VERSION"
case $VERSION in 1:10.11.*) ;; *) echo "not the version that was looked at" >&2; exit 1 ;; esac
mkdir "$T/root/data"
chroot "$T/root" mariadb-install-db --no-defaults --user=root --datadir=/data/db --skip-test-db --force \
    --auth-root-authentication-method=normal >"$T/log" 2>&1 || { tail "$T/log"; exit 2; }
chroot "$T/root" mariadbd --no-defaults --user=root --datadir=/data/db --socket=/data/socket --pid-file=/data/pid \
    --skip-networking >"$T/log" 2>&1 &
disown

# user, what is asked
ask() { chroot "$T/root" mariadb --no-defaults -u"$1" -S /data/socket --batch --skip-column-names -e "$2" 2>&1 || true; }
for attempt in $(seq 300); do
    [ "$(ask root 'SELECT 1')" != 1 ] || break
    sleep 0.1
done
ask root "CREATE DATABASE audit; CREATE TABLE audit.record (id INT PRIMARY KEY, text VARCHAR(3) NOT NULL);
    CREATE USER clerk@localhost; GRANT SELECT, INSERT ON audit.record TO clerk@localhost"

expect() {
    printf '%s\n  %s\n' "$1" "$3"
    [[ $3 == $2 ]] || { echo "expected: $2" >&2; exit 1; }
}
expect 'into the empty table, ON DUPLICATE KEY UPDATE' '*1142*UPDATE command denied*' \
    "$(ask clerk "INSERT INTO audit.record VALUES (1, 'one') ON DUPLICATE KEY UPDATE id = record.id")"
expect 'rows then' 0 "$(ask clerk 'SELECT count(*) FROM audit.record')"
for attempt in first second; do
    expect "WHERE NOT EXISTS, the $attempt time" '' "$(ask clerk \
        "INSERT INTO audit.record SELECT 1, 'one' FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM audit.record WHERE id = 1)")"
done
expect 'INSERT IGNORE of a text that is too long' '' "$(ask clerk "INSERT IGNORE INTO audit.record VALUES (2, 'four')")"
expect 'rows then' $'1\tone\n2\tfou' "$(ask clerk 'SELECT id, text FROM audit.record ORDER BY id')"
