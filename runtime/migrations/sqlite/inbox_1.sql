-- In the consumer's database: the messages whose effect has happened.
CREATE TABLE tm_inbox (
    queue       TEXT    NOT NULL,
    message_id  BLOB    NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (queue, message_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX tm_inbox_age ON tm_inbox (queue, received_at);
