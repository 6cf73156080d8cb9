-- In the consumer's database: up to when a queue's records were pruned, so that nothing older is taken for new; and
-- messages that are being handled alone, since they may have killed a process before.
CREATE TABLE tm_inbox_pruned (
    queue text   PRIMARY KEY,
    up_to bigint NOT NULL
);

CREATE TABLE tm_inbox_entered (
    queue      text   NOT NULL,
    message_id uuid   NOT NULL,
    entries    bigint NOT NULL,
    entered_at bigint NOT NULL,
    PRIMARY KEY (queue, message_id)
);

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
