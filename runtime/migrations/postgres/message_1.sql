-- The message store. Times are milliseconds since the Unix epoch, by the database's clock.
CREATE TABLE IF NOT EXISTS tm_schema (part text PRIMARY KEY, version bigint NOT NULL);

CREATE TABLE tm_message (
    id           uuid   NOT NULL PRIMARY KEY,  -- UUIDv7
    call_id      uuid   NOT NULL,              -- id of the call's first message; key of its fence row
    state        bigint NOT NULL,              -- 0 half, 1 confirmed, 2 cancelled, 3 delivered, 4 parked, 5 dead
    answered_by  text   NOT NULL,              -- fence:<identity>, handler:<name> or nobody
    function     text   NOT NULL,              -- the annotated function, for people
    check_after  bigint NOT NULL,              -- how long after its holder vanished a handler may be asked
    due_at       bigint,                       -- held: when the lease lapses; else when it may be taken up
    held_by      uuid,                         -- the holder's token
    attempts     bigint NOT NULL DEFAULT 0,    -- questions asked while half, deliveries tried since
    reason       text,                         -- the last failure, or an operator's word
    created_at   bigint NOT NULL,
    finished_at  bigint,
    exchange     text   NOT NULL,
    routing_key  text   NOT NULL,
    message_type text,
    content_type text   NOT NULL,
    message_key  text,
    headers      text   NOT NULL,              -- JSON: [[name, value], ...]
    payload      bytea  NOT NULL
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.1);

-- Partial, so that finished rows, which are the bulk, cost the workers nothing.
CREATE INDEX tm_message_half ON tm_message (answered_by, due_at) WHERE state = 0;
CREATE INDEX tm_message_confirmed ON tm_message (due_at) WHERE state = 1;
CREATE INDEX tm_message_finished ON tm_message (finished_at) WHERE state IN (2, 3);
CREATE INDEX tm_message_waiting ON tm_message (state, id) WHERE state IN (4, 5);
-- Only the further messages of calls that have several.
CREATE INDEX tm_message_siblings ON tm_message (call_id) WHERE call_id <> id;

INSERT INTO tm_schema (part, version) VALUES ('message', 1);
