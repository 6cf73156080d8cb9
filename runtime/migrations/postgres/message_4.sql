-- What persons decided, and who runs. By the database's clock.
CREATE TABLE tm_audit (
    id         uuid   NOT NULL PRIMARY KEY,  -- UUIDv7
    at         bigint NOT NULL,
    message_id uuid   NOT NULL,
    action     text   NOT NULL,              -- confirm, cancel, retry, view
    actor      text   NOT NULL,              -- who
    via        text   NOT NULL,              -- by what means: console, cli, code
    reason     text   NOT NULL,
    evidence   text                          -- what the fence said then
);
CREATE INDEX tm_audit_message ON tm_audit (message_id, id);

CREATE TABLE tm_process (
    token      uuid   NOT NULL PRIMARY KEY,  -- by which it holds messages
    started_at bigint NOT NULL,
    seen_at    bigint NOT NULL,
    about      text   NOT NULL               -- JSON
);

UPDATE tm_schema SET version = 4 WHERE part = 'message';
