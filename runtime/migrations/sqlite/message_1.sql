-- The message store. Times are milliseconds since the Unix epoch, by the database's clock.
CREATE TABLE IF NOT EXISTS tm_schema (part TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL) STRICT;

CREATE TABLE tm_message (
    id           BLOB    NOT NULL PRIMARY KEY,  -- UUIDv7
    call_id      BLOB    NOT NULL,              -- id of the call's first message; key of its fence row
    state        INTEGER NOT NULL,              -- 0 half, 1 confirmed, 2 cancelled, 3 delivered, 4 parked, 5 dead
    answered_by  TEXT    NOT NULL,              -- fence:<identity>, handler:<name> or nobody
    function     TEXT    NOT NULL,              -- the annotated function, for people
    check_after  INTEGER NOT NULL,              -- how long after its holder vanished a handler may be asked
    due_at       INTEGER,                       -- held: when the lease lapses; else when it may be taken up
    held_by      BLOB,                          -- the holder's token
    attempts     INTEGER NOT NULL DEFAULT 0,    -- questions asked while half, deliveries tried since
    reason       TEXT,                          -- the last failure, or an operator's word
    created_at   INTEGER NOT NULL,
    finished_at  INTEGER,
    exchange     TEXT    NOT NULL,
    routing_key  TEXT    NOT NULL,
    message_type TEXT,
    content_type TEXT    NOT NULL,
    message_key  TEXT,
    headers      TEXT    NOT NULL,              -- JSON: [[name, value], ...]
    payload      BLOB    NOT NULL
) STRICT;

-- Partial, so that finished rows, which are the bulk, cost the workers nothing.
CREATE INDEX tm_message_half ON tm_message (answered_by, due_at, created_at) WHERE state = 0;
CREATE INDEX tm_message_confirmed ON tm_message (due_at, created_at) WHERE state = 1;
CREATE INDEX tm_message_finished ON tm_message (finished_at) WHERE state IN (2, 3);
CREATE INDEX tm_message_waiting ON tm_message (state, id) WHERE state IN (4, 5);
-- Only the further messages of calls that have several.
CREATE INDEX tm_message_siblings ON tm_message (call_id) WHERE call_id <> id;

INSERT INTO tm_schema (part, version) VALUES ('message', 1);
