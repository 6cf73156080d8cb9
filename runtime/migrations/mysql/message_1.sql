-- The message store. Times are milliseconds since the Unix epoch, by the database's clock.
-- MySQL has no transaction around DDL: what a broken run has left is kept by the next one.
CREATE TABLE IF NOT EXISTS tm_schema (part VARCHAR(32) NOT NULL PRIMARY KEY, version BIGINT NOT NULL) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS tm_message (
    id           BINARY(16)   NOT NULL PRIMARY KEY,  -- UUIDv7
    call_id      BINARY(16)   NOT NULL,              -- id of the call's first message; key of its fence row
    state        BIGINT       NOT NULL,              -- 0 half, 1 confirmed, 2 cancelled, 3 delivered, 4 parked, 5 dead
    answered_by  VARCHAR(300) NOT NULL,              -- fence:<identity>, handler:<name> or nobody
    `function`   TEXT         NOT NULL,              -- the annotated function, for people
    check_after  BIGINT       NOT NULL,              -- how long after its holder vanished a handler may be asked
    due_at       BIGINT,                             -- held: when the lease lapses; else when it may be taken up
    held_by      BINARY(16),                         -- the holder's token
    attempts     BIGINT       NOT NULL DEFAULT 0,    -- questions asked while half, deliveries tried since
    reason       TEXT,                               -- the last failure, or an operator's word
    created_at   BIGINT       NOT NULL,
    finished_at  BIGINT,
    exchange     VARCHAR(255) NOT NULL,
    routing_key  VARCHAR(255) NOT NULL,
    message_type VARCHAR(255),
    content_type VARCHAR(255) NOT NULL,
    message_key  VARCHAR(255),
    headers      MEDIUMTEXT   NOT NULL,              -- JSON: [[name, value], ...]
    payload      LONGBLOB     NOT NULL,
    KEY tm_message_half (state, answered_by, due_at),
    KEY tm_message_due (state, due_at),
    KEY tm_message_finished (state, finished_at),
    KEY tm_message_siblings (call_id)
) ENGINE = InnoDB, DEFAULT CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin;

INSERT IGNORE INTO tm_schema (part, version) VALUES ('message', 1);
