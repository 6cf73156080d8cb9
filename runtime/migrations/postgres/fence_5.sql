-- Adds the row of the messages that a body has decided on to a transaction that has begun with another row, or entered with
-- one. With the rights of the tables' owner, since the body may have given up its own; so it makes sure that the first row is
-- of this transaction, as `tm_fence_done` does. Like `tm_fence_begin`, it does not wait long for a check-back's row.
DO $do$
DECLARE
    place text := (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 'tm_fence'::regclass);
BEGIN
EXECUTE format($sql$

CREATE FUNCTION %1$s.tm_fence_add(proven uuid, added uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, %1$s, pg_temp AS $body$
DECLARE
    own bigint := pg_current_xact_id()::text::bigint;
    patience text := current_setting('lock_timeout');
BEGIN
    PERFORM FROM tm_fence
    WHERE call_id = proven AND outcome IN (1, 3)
        AND pg_xact_status((own + ((xmin::text::bigint - own + 2147483648) & 4294967295) - 2147483648)::text::xid8)
            = 'in progress';
    IF NOT FOUND THEN
        RAISE 'the row of the call %% is not in this transaction', proven USING ERRCODE = 'TMF02';
    END IF;
    PERFORM set_config('lock_timeout', '2s', true);
    INSERT INTO tm_fence (call_id, outcome) VALUES (added, 1) ON CONFLICT (call_id) DO NOTHING;
    IF NOT FOUND THEN
        RAISE 'the row of %% is closed: its messages were cancelled meanwhile', added USING ERRCODE = 'TMF03';
    END IF;
    PERFORM set_config('lock_timeout', patience, true);
END $body$;

$sql$, place);
END $do$;

UPDATE tm_schema SET version = 5 WHERE part = 'fence';
