-- In the consumer's database: up to when a queue's records were pruned, so that nothing older is taken for new; and
-- messages that are being handled alone, since they may have killed a process before.
CREATE TABLE tm_inbox_pruned (
    queue TEXT    NOT NULL PRIMARY KEY,
    up_to INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tm_inbox_entered (
    queue      TEXT    NOT NULL,
    message_id BLOB    NOT NULL,
    entries    INTEGER NOT NULL,
    entered_at INTEGER NOT NULL,
    PRIMARY KEY (queue, message_id)
) STRICT, WITHOUT ROWID;

UPDATE tm_schema SET version = 2 WHERE part = 'inbox';
