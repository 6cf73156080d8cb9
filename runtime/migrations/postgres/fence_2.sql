-- What a fenced transaction begins and ends with works wherever its body has moved the session: the functions know
-- their schema (which `SET LOCAL search_path` may hide), and those at the end use the rights of the tables' owner
-- (which `SET LOCAL ROLE` may give up). They touch only rows that the calling transaction itself has written.
DO $do$
DECLARE
    place text := (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 'tm_fence'::regclass);
BEGIN
EXECUTE format($sql$

CREATE OR REPLACE FUNCTION %1$s.tm_fence_enter(entering uuid, expected uuid) RETURNS void
LANGUAGE plpgsql SET lock_timeout = '2s' SET search_path = pg_catalog, %1$s, pg_temp AS $body$
BEGIN
    -- The commit will be durable.
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    -- A client that vanished does not keep the transaction open for hours. For the session, since that is asked
    -- for the first time only: each setting is a call of the operating system.
    IF current_setting('tcp_keepalives_idle')::int NOT BETWEEN 1 AND 10 THEN
        PERFORM set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false),
            set_config('tcp_keepalives_count', '4', false);
    END IF;
    INSERT INTO tm_fence (call_id, outcome) SELECT entering, 1 FROM tm_fence_database WHERE identity = expected;
    IF NOT FOUND THEN
        RAISE 'this is not the database of the fence %%', expected USING ERRCODE = 'TMF01';
    END IF;
END $body$;

-- Writes the outcome, and fails unless the row was written by this transaction (xmin), and not by one
-- that was committed underneath.
CREATE OR REPLACE FUNCTION %1$s.tm_fence_prove(proven uuid, written bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, %1$s, pg_temp AS $body$
BEGIN
    IF written = 1 THEN
        PERFORM FROM tm_fence WHERE call_id = proven AND outcome = 1 AND xmin = pg_current_xact_id()::xid;
    ELSE
        UPDATE tm_fence SET outcome = written
        WHERE call_id = proven AND outcome = 1 AND xmin = pg_current_xact_id()::xid;
    END IF;
    IF NOT FOUND THEN
        RAISE 'the row of the call %% is not in this transaction', proven USING ERRCODE = 'TMF02';
    END IF;
END $body$;

-- The same, with the payload that replaces the first one. What it writes can't be proven once more: in a savepoint
-- that is still open, as after a nested transaction was rolled back, the row gets the xmin of that.
CREATE FUNCTION %1$s.tm_fence_amend(proven uuid, written bigint, payload bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, %1$s, pg_temp AS $body$
BEGIN
    UPDATE tm_fence SET outcome = written, amended = payload
    WHERE call_id = proven AND outcome = 1 AND xmin = pg_current_xact_id()::xid;
    IF NOT FOUND THEN
        RAISE 'the row of the call %% is not in this transaction', proven USING ERRCODE = 'TMF02';
    END IF;
END $body$;

$sql$, place);
END $do$;

UPDATE tm_schema SET version = 2 WHERE part = 'fence';
