-- What each transition of a message writes on PostgreSQL 15 or newer: records of the write-ahead log a row.
-- In the root of the repository, into a database that is thrown away:
--   cargo run -p services -- run -- sh -c 'psql "$TM_TEST_POSTGRES_URL" -qAt -f tests/bench/index_writes.sql'
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
CREATE SCHEMA index_writes;
SET search_path = index_writes, public;
CREATE EXTENSION IF NOT EXISTS pg_walinspect SCHEMA public;
\i runtime/migrations/postgres/message_1.sql
\i runtime/migrations/postgres/fence_1.sql

-- Runs a statement, and counts what it put into the log for each of its rows.
CREATE FUNCTION writes(what text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    since pg_lsn := pg_current_wal_insert_lsn();
    until pg_lsn;
    affected bigint;
    records text;
BEGIN
    EXECUTE statement;
    GET DIAGNOSTICS affected = ROW_COUNT;
    until := pg_current_wal_insert_lsn();
    PERFORM pg_switch_wal();                    -- only what was flushed can be read
    SELECT string_agg(format('%s %s', kind, round(count / affected::numeric, 1)), ', ') INTO records
    FROM (
        SELECT CASE WHEN resource_manager = 'Btree' THEN 'index' ELSE 'row' END AS kind, count(*)
        FROM pg_get_wal_records_info(since, until)
        WHERE (resource_manager, record_type) IN (('Btree', 'INSERT_LEAF'), ('Btree', 'INSERT_POST'), ('Heap', 'INSERT'),
            ('Heap', 'INSERT+INIT'), ('Heap', 'UPDATE'), ('Heap', 'UPDATE+INIT'), ('Heap', 'HOT_UPDATE'), ('Heap', 'DELETE'))
        GROUP BY 1 ORDER BY 1 DESC
    ) counted;
    RETURN format('%-10s %s, %s bytes', what, records, ((until - since) / affected)::int);
END $$;

INSERT INTO tm_message (state, due_at, held_by, created_at, id, call_id, answered_by, function, check_after,
                        exchange, routing_key, content_type, headers, payload)
SELECT 0, n, gen_random_uuid(), n, id, id, 'handler:pay', 'shop::pay', 10000, 'bench', 'payment.completed',
       'application/json', '[]', convert_to(repeat('x', 256), 'UTF8')
FROM generate_series(1, 1000) n, LATERAL (SELECT lpad(to_hex(n), 32, '0')::uuid AS id) ids;
-- From here on nothing is the first change of a page, which is logged whole.
CHECKPOINT;
SELECT writes('half', $$
    INSERT INTO tm_message SELECT ('f' || substr(id::text, 2))::uuid, ('f' || substr(id::text, 2))::uuid, state,
        answered_by, function, check_after, due_at, held_by, attempts, reason, created_at, finished_at, exchange,
        routing_key, message_type, content_type, message_key, headers, payload FROM tm_message ORDER BY id $$);
SELECT writes('renew', 'UPDATE tm_message SET due_at = due_at + 5000');
SELECT writes('confirm', 'UPDATE tm_message SET state = 1, due_at = due_at + 1');
SELECT writes('deliver', 'UPDATE tm_message SET state = 3, due_at = NULL, held_by = NULL, finished_at = created_at');
SELECT writes('delete', 'DELETE FROM tm_message');
SELECT writes('fence', $$
    INSERT INTO tm_fence SELECT lpad(to_hex(n), 32, '0')::uuid, 1, NULL FROM generate_series(1, 1000) n $$);
SELECT writes('forget', 'DELETE FROM tm_fence');
DROP SCHEMA index_writes CASCADE;
