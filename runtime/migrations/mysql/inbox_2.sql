-- In the consumer's database: up to when a queue's records were pruned, so that nothing older is taken for new; and
-- messages that are being handled alone, since they may have killed a process before.
CREATE TABLE IF NOT EXISTS tm_inbox_pruned (
    queue VARBINARY(255) NOT NULL PRIMARY KEY,
    up_to BIGINT         NOT NULL
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS tm_inbox_entered (
    queue      VARBINARY(255) NOT NULL,
    message_id BINARY(16)     NOT NULL,
    entries    BIGINT         NOT NULL,
    entered_at BIGINT         NOT NULL,
    PRIMARY KEY (queue, message_id)
) ENGINE = InnoDB;

UPDATE tm_schema SET version = 2 WHERE part = 'inbox';
