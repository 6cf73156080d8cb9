-- What a consumer's transaction ends with works wherever its handler has moved the session: see `fence_2.sql`.
DO $do$
DECLARE
    place text := (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 'tm_inbox'::regclass);
BEGIN
EXECUTE format($sql$

-- Fails unless the record was written by this transaction.
CREATE FUNCTION %1$s.tm_inbox_prove(proven_queue text, proven uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, %1$s, pg_temp AS $body$
BEGIN
    PERFORM FROM tm_inbox WHERE queue = proven_queue AND message_id = proven AND xmin = pg_current_xact_id()::xid;
    IF NOT FOUND THEN
        RAISE 'the inbox row of the message %% is not in this transaction', proven USING ERRCODE = 'TMF02';
    END IF;
END $body$;

$sql$, place);
END $do$;

UPDATE tm_schema SET version = 2 WHERE part = 'inbox';
