-- What went wrong with a message, one JSON object a line; null where nothing did.
ALTER TABLE tm_message ADD COLUMN history TEXT;

-- What a record is about besides a message: an operation; or instead of one, and then message_id is all zeros: a pause.
ALTER TABLE tm_audit ADD COLUMN subject TEXT;

-- What is paused. By the database's clock.
CREATE TABLE tm_pause (
    what     TEXT    NOT NULL PRIMARY KEY,  -- all, check_backs, exchange:<name>, queue:<name>
    reason   TEXT    NOT NULL,
    actor    TEXT    NOT NULL,              -- who
    via      TEXT    NOT NULL,              -- by what means: console, cli, code
    began_at INTEGER NOT NULL,
    ends_at  INTEGER NOT NULL
) STRICT;

-- Decisions about many messages, which go on where whoever carried them out has stopped.
CREATE TABLE tm_operation (
    id         BLOB    NOT NULL PRIMARY KEY,  -- UUIDv7
    about      TEXT    NOT NULL,              -- JSON: what, why, by whom, how fast
    created_at INTEGER NOT NULL,
    begins_at  INTEGER NOT NULL,              -- until then nothing is done
    held_by    BLOB,                          -- who carries it out
    held_until INTEGER,
    stopped    TEXT,                          -- by whom, and why
    ended_at   INTEGER
) STRICT;
CREATE INDEX tm_operation_open ON tm_operation (begins_at) WHERE ended_at IS NULL;

CREATE TABLE tm_operation_item (
    operation_id BLOB    NOT NULL,
    position     INTEGER NOT NULL,
    message_id   BLOB    NOT NULL,
    record_id    BLOB    NOT NULL,            -- of the decision, in tm_audit
    outcome      TEXT,                       -- done, refused, failed; null before
    why          TEXT,
    PRIMARY KEY (operation_id, position)
) STRICT;

UPDATE tm_schema SET version = 5 WHERE part = 'message';
