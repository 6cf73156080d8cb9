-- What persons decided, and who runs. By the database's clock.
CREATE TABLE tm_audit (
    id         BLOB    NOT NULL PRIMARY KEY,  -- UUIDv7
    at         INTEGER NOT NULL,
    message_id BLOB    NOT NULL,
    action     TEXT    NOT NULL,              -- confirm, cancel, retry, view
    actor      TEXT    NOT NULL,              -- who
    via        TEXT    NOT NULL,              -- by what means: console, cli, code
    reason     TEXT    NOT NULL,
    evidence   TEXT                           -- what the fence said then
) STRICT;
CREATE INDEX tm_audit_message ON tm_audit (message_id, id);

CREATE TABLE tm_process (
    token      BLOB    NOT NULL PRIMARY KEY,  -- by which it holds messages
    started_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    about      TEXT    NOT NULL               -- JSON
) STRICT;

UPDATE tm_schema SET version = 4 WHERE part = 'message';
