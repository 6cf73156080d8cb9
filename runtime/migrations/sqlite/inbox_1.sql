-- In the consumer's database: the messages whose effect has happened.
CREATE TABLE IF NOT EXISTS tm_schema (part TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL) STRICT;

CREATE TABLE tm_inbox (
    queue       TEXT    NOT NULL,
    message_id  BLOB    NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (queue, message_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX tm_inbox_age ON tm_inbox (queue, received_at);

INSERT INTO tm_schema (part, version) VALUES ('inbox', 1);
