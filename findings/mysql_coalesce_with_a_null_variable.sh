#!/usr/bin/env bash
# Guessed: COALESCE(@saved, @@autocommit) is a number, 0 or 1, also where @saved is NULL: it can be given back to `autocommit`,
#       and be a condition.
# Seen: a user variable that was SET to NULL is a string, and so is what COALESCE then makes of the number.
#       MySQL 9.7: '1', which SET autocommit refuses (1231); with a variable that was never set it accepts it.
#       MariaDB 10.11: 'ON', which SET autocommit accepts; but as a condition it is false: IF('ON', 1, 0) is 0.
#       COALESCE(@saved = 1, @@autocommit = 1) is a number on both.
#
# Needs root (debootstrap, chroot). Exits with 1 if one of them behaves otherwise.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
T=$(mktemp -d)
end() {
    for pid in "$T"/*/data/pid; do
        if [ -s "$pid" ]; then kill -KILL "$(cat "$pid")" 2>/dev/null || true; fi
    done
    rm -rf -- "$T" 2>/dev/null || { sleep 1; rm -rf -- "$T"; }
}
trap end EXIT

# release, packages, version
install() {
    echo "installing $2 in a temporary folder"
    debootstrap --variant=minbase --include="$2" "$1" "$T/$1" >"$T/log" 2>&1 || { tail "$T/log"; exit 2; }
    VERSION=$(chroot "$T/$1" dpkg-query -W -f '${Version}' "${2%%,*}")
    echo "${2%%,*} $VERSION"
    case $VERSION in $3) ;; *) echo "not the version that was looked at" >&2; exit 1 ;; esac
    mkdir "$T/$1/data"
}

# release, what is asked
ask() { chroot "$T/$1" "$CLIENT" --no-defaults -uroot -S /data/socket --batch --skip-column-names --force -e "$2" 2>&1 || true; }

# release, server and its options
start() {
    local release=$1 server=$2
    shift 2
    chroot "$T/$release" "$server" --no-defaults "$@" --user=root --datadir=/data/db --socket=/data/socket --pid-file=/data/pid \
        --skip-networking >"$T/log" 2>&1 &
    disown
    for attempt in $(seq 300); do
        [ "$(ask "$release" 'SELECT 1')" != 1 ] || return 0
        sleep 0.1
    done
    tail "$T/log"
    exit 2
}

expect() {
    printf '%s\n  %s\n' "$1" "$3"
    [[ $3 == $2 ]] || { echo "expected: $2" >&2; exit 1; }
}

install bookworm mariadb-server-core,mariadb-client-core '1:10.11.*'
CLIENT=mariadb
chroot "$T/bookworm" mariadb-install-db --no-defaults --user=root --datadir=/data/db --skip-test-db --force \
    --auth-root-authentication-method=normal >"$T/log" 2>&1 || { tail "$T/log"; exit 2; }
start bookworm mariadbd
NULL='SET @saved = NULL;'
expect 'MariaDB, COALESCE with a NULL variable' 'ON' "$(ask bookworm "$NULL SELECT COALESCE(@saved, @@autocommit)")"
expect 'MariaDB, as a condition' '0' "$(ask bookworm "$NULL SELECT IF(COALESCE(@saved, @@autocommit), 1, 0)")"
expect 'MariaDB, given back' '1' "$(ask bookworm "$NULL SET autocommit = COALESCE(@saved, @@autocommit); SELECT @@autocommit = 1")"
expect 'MariaDB, compared with 1' '1' "$(ask bookworm "$NULL SET autocommit = COALESCE(@saved = 1, @@autocommit = 1); SELECT @@autocommit = 1")"

install sid mysql-server-core,mysql-client-core '9.7.*'
CLIENT=mysql
chroot "$T/sid" mysqld --no-defaults --initialize-insecure --user=root --datadir=/data/db --secure-file-priv=NULL >"$T/log" 2>&1 ||
    { tail "$T/log"; exit 2; }
start sid mysqld --mysqlx=OFF --secure-file-priv=NULL
expect 'MySQL, a variable that was never set, given back' '1' \
    "$(ask sid 'SET autocommit = COALESCE(@saved, @@autocommit); SELECT @@autocommit')"
expect 'MySQL, a NULL variable, given back' '*1231*' "$(ask sid "$NULL SET autocommit = COALESCE(@saved, @@autocommit)")"
expect 'MySQL, compared with 1' '1' "$(ask sid "$NULL SET autocommit = COALESCE(@saved = 1, @@autocommit = 1); SELECT @@autocommit")"
echo "as described"
