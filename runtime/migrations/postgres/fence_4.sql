-- What a fenced transaction begins with now: a procedure, because CALL makes no plan and sends no row. And its proof is a
-- cursor, which lives as long as the transaction: whoever can move in it is in this transaction, whatever role, search path
-- and savepoints the body has left; and moving in it makes sure that the commit will be durable. `tm_fence_enter` stays for
-- processes that have not been updated yet.
DO $do$
DECLARE
    place text := (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 'tm_fence'::regclass);
BEGIN
EXECUTE format($sql$

CREATE PROCEDURE %1$s.tm_fence_begin(entering uuid, expected uuid) LANGUAGE plpgsql AS $body$
DECLARE
    own text := pg_catalog.current_setting('lock_timeout');
    proof refcursor := pg_catalog.concat('tm_fence_', pg_catalog.replace(entering::text, '-', ''));
    -- An assignment is evaluated without the executor; a PERFORM is not.
    set_to text;
BEGIN
    -- The commit will be durable, also one that the body says itself. The proof sees to it once more.
    IF pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) 'off' THEN
        set_to := pg_catalog.set_config('synchronous_commit', 'on', true);
    END IF;
    -- A client that vanished does not keep the transaction open for hours. For the session, since that is asked
    -- for the first time only: each setting is a call of the operating system.
    IF pg_catalog.current_setting('tcp_keepalives_idle')::int NOT BETWEEN 1 AND 10 THEN
        PERFORM pg_catalog.set_config('tcp_keepalives_idle', '10', false),
            pg_catalog.set_config('tcp_keepalives_interval', '5', false),
            pg_catalog.set_config('tcp_keepalives_count', '4', false);
    END IF;
    set_to := pg_catalog.set_config('lock_timeout', '2s', true);
    INSERT INTO %1$s.tm_fence (call_id, outcome)
    SELECT entering, 1 FROM %1$s.tm_fence_database WHERE identity OPERATOR(pg_catalog.=) expected;
    IF NOT FOUND THEN
        RAISE 'this is not the database of the fence %%', expected USING ERRCODE = 'TMF01';
    END IF;
    set_to := pg_catalog.set_config('lock_timeout', own, true);
    OPEN proof FOR SELECT pg_catalog.set_config('synchronous_commit', 'on', true)
        WHERE pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) 'off';
END $body$;

$sql$, place);
END $do$;

UPDATE tm_schema SET version = 4 WHERE part = 'fence';
