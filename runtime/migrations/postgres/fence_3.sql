-- What a fenced transaction begins with, and leaves behind for its proof: a setting that lives as long as the transaction.
-- Without SET clauses, which cost something at every call, so everything is named in full.
DO $do$
DECLARE
    place text := (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 'tm_fence'::regclass);
BEGIN
EXECUTE format($sql$

CREATE OR REPLACE FUNCTION %1$s.tm_fence_enter(entering uuid, expected uuid) RETURNS void LANGUAGE plpgsql AS $body$
DECLARE
    own text := pg_catalog.current_setting('lock_timeout');
BEGIN
    -- The commit will be durable. The proof sees to it once more, whatever the body has set since.
    IF pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) 'off' THEN
        PERFORM pg_catalog.set_config('synchronous_commit', 'on', true);
    END IF;
    PERFORM pg_catalog.set_config('lock_timeout', '2s', true);
    INSERT INTO %1$s.tm_fence (call_id, outcome)
    SELECT entering, 1 FROM %1$s.tm_fence_database WHERE identity OPERATOR(pg_catalog.=) expected;
    IF NOT FOUND THEN
        RAISE 'this is not the database of the fence %%', expected USING ERRCODE = 'TMF01';
    END IF;
    -- By the second, the end of the transaction is proven. Neither outlives it.
    PERFORM pg_catalog.set_config('lock_timeout', own, true),
        pg_catalog.set_config('transactional_message.call', entering::pg_catalog.text, true);
    -- A client that vanished does not keep the transaction open for hours. For the session, since that is asked
    -- for the first time only: each setting is a call of the operating system.
    IF pg_catalog.current_setting('tcp_keepalives_idle')::int NOT BETWEEN 1 AND 10 THEN
        PERFORM pg_catalog.set_config('tcp_keepalives_idle', '10', false),
            pg_catalog.set_config('tcp_keepalives_interval', '5', false),
            pg_catalog.set_config('tcp_keepalives_count', '4', false);
    END IF;
END $body$;

$sql$, place);
END $do$;

UPDATE tm_schema SET version = 3 WHERE part = 'fence';
