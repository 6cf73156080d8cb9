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

UPDATE tm_schema SET version = 2 WHERE part = 'inbox';
