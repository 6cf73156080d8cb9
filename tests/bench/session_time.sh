#!/usr/bin/env bash
# What a transaction costs its PostgreSQL session, in µs of processor time: medians of five runs of 4000. The session reads
# its own time, so the server must be on this machine, and the user a superuser. In the root of the repository:
#   cargo run -p services -- run -- tests/bench/session_time.sh
set -euo pipefail
sql() { psql "$TM_TEST_POSTGRES_URL" -qAt -v ON_ERROR_STOP=1 "$@"; }
N=4000

sql -c "DROP DATABASE IF EXISTS session_time" -c "CREATE DATABASE session_time"
TM_TEST_POSTGRES_URL=${TM_TEST_POSTGRES_URL%/*}/session_time
for script in runtime/migrations/postgres/fence_*.sql; do sql -1 -f "$script"; done
sql -c "CREATE TABLE payment (id uuid PRIMARY KEY, amount bigint NOT NULL)" \
    -c "CREATE TABLE outbox (id uuid PRIMARY KEY, payload bytea NOT NULL)"
IDENTITY=$(sql -c "SELECT identity FROM tm_fence_database")

PAY="EXECUTE pay('ID');"
CALLED="BEGIN \\; CALL tm_fence_begin('ID', '$IDENTITY');"
SELECTED="BEGIN \\; SELECT tm_fence_enter('ID', '$IDENTITY');"
LOOKED_UP="SELECT 1 / strpos(current_setting('transactional_message.calls'), 'ID'),
    CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END"

# Of one session: its time before and after, in ns.
run() {
    {
        echo "PREPARE pay (uuid) AS INSERT INTO payment VALUES (\$1, 5);"
        echo "PREPARE put_out (uuid) AS INSERT INTO outbox VALUES (\$1, decode(repeat('7b', 256), 'hex'));"
        echo "SELECT 'time ' || split_part(pg_read_file('/proc/self/schedstat'), ' ', 1);"
        TEXT=$1 awk -v n="$N" 'BEGIN {
            for (i = 1; i <= n; i++) {
                id = sprintf("00000000-0000-7000-8000-%012d", i); name = id; gsub("-", "", name)
                line = ENVIRON["TEXT"]; gsub("NAME", name, line); gsub("ID", id, line); print line
            } }'
        echo "SELECT 'time ' || split_part(pg_read_file('/proc/self/schedstat'), ' ', 1);"
    } | sql | awk -v n="$N" '$1 == "time" { if (since) print ($2 - since) / n / 1000; since = $2 }'
}

measure() {
    local runs=()
    for _ in 1 2 3 4 5; do
        sql -c "TRUNCATE tm_fence, payment, outbox"
        runs+=("$(run "$2")")
    done
    printf '%-66s %6.1f\n' "$1" "$(printf '%s\n' "${runs[@]}" | sort -n | sed -n 3p)"
}

measure "one insert" "BEGIN; $PAY COMMIT;"
measure "two inserts: an outbox" "BEGIN; $PAY EXECUTE put_out('ID'); COMMIT;"
measure "fence: procedure and cursor" "$CALLED $PAY MOVE IN tm_fence_NAME \\; COMMIT AND CHAIN; ROLLBACK;"
measure "the same without the transaction that sqlx rolls back" "$CALLED $PAY MOVE IN tm_fence_NAME \\; COMMIT;"
measure "fence: function and setting, as up to version 3 of the tables" "$SELECTED $PAY $LOOKED_UP \\; COMMIT AND CHAIN; ROLLBACK;"
