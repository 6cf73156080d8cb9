-- In the consumer's database: the messages whose effect has happened.
CREATE TABLE IF NOT EXISTS tm_schema (part VARCHAR(32) NOT NULL PRIMARY KEY, version BIGINT NOT NULL) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS tm_inbox (
    queue       VARBINARY(255) NOT NULL,
    message_id  BINARY(16)     NOT NULL,
    received_at BIGINT         NOT NULL,
    PRIMARY KEY (queue, message_id),
    KEY tm_inbox_age (queue, received_at)
) ENGINE = InnoDB;

INSERT IGNORE INTO tm_schema (part, version) VALUES ('inbox', 1);
