-- What a fenced transaction begins with, and leaves behind for its proof: a setting that lives as long as the transaction.
-- Without SET clauses, which cost something at every call, so everything is named in full. And the same for a
-- transaction that the caller commits: its row says that there is nothing to send, until the body is done.
DO $do$
DECLARE
    place text := (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 'tm_fence'::regclass);
    kind record;
BEGIN
FOR kind IN SELECT * FROM (VALUES ('tm_fence_enter', 1), ('tm_fence_join', 3)) AS kinds (name, outcome) LOOP
EXECUTE format($sql$

CREATE OR REPLACE FUNCTION %1$s.%2$I(entering uuid, expected uuid) RETURNS void LANGUAGE plpgsql AS $body$
DECLARE
    own text := pg_catalog.current_setting('lock_timeout');
BEGIN
    -- The commit will be durable. The proof sees to it once more, whatever the body has set since.
    IF pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) 'off' THEN
        PERFORM pg_catalog.set_config('synchronous_commit', 'on', true);
    END IF;
    PERFORM pg_catalog.set_config('lock_timeout', '2s', true);
    INSERT INTO %1$s.tm_fence (call_id, outcome)
    SELECT entering, %3$s FROM %1$s.tm_fence_database WHERE identity OPERATOR(pg_catalog.=) expected;
    IF NOT FOUND THEN
        RAISE 'this is not the database of the fence %%', expected USING ERRCODE = 'TMF01';
    END IF;
    -- By the second, the end of the transaction is proven: it has the transaction's calls. Neither outlives it.
    PERFORM pg_catalog.set_config('lock_timeout', own, true),
        pg_catalog.set_config('transactional_message.calls', pg_catalog.concat(
            pg_catalog.current_setting('transactional_message.calls', true), ' ', entering), true);
    -- A client that vanished does not keep the transaction open for hours. For the session, since that is asked
    -- for the first time only: each setting is a call of the operating system.
    IF pg_catalog.current_setting('tcp_keepalives_idle')::int NOT BETWEEN 1 AND 10 THEN
        PERFORM pg_catalog.set_config('tcp_keepalives_idle', '10', false),
            pg_catalog.set_config('tcp_keepalives_interval', '5', false),
            pg_catalog.set_config('tcp_keepalives_count', '4', false);
    END IF;
END $body$;

$sql$, place, kind.name, kind.outcome);
END LOOP;
EXECUTE format($sql$

-- In a transaction that the caller commits: the body is done. A row that is seen, and whose transaction is in progress, is
-- of this transaction, or of a savepoint in it; others' rows can't be changed, whatever rights this has.
CREATE FUNCTION %1$s.tm_fence_done(done uuid, payload bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, %1$s, pg_temp AS $body$
DECLARE
    -- With its epoch, which xmin lacks; half of all numbers are after it, half before.
    own bigint := pg_current_xact_id()::text::bigint;
BEGIN
    UPDATE tm_fence SET outcome = 1, amended = payload
    WHERE call_id = done AND outcome = 3
        AND pg_xact_status((own + ((xmin::text::bigint - own + 2147483648) & 4294967295) - 2147483648)::text::xid8)
            = 'in progress';
    IF NOT FOUND THEN
        RAISE 'the row of the call %% is not in this transaction', done USING ERRCODE = 'TMF02';
    END IF;
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
END $body$;

$sql$, place);
END $do$;

UPDATE tm_schema SET version = 3 WHERE part = 'fence';
