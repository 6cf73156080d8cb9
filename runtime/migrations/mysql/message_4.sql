-- What persons decided, and who runs. By the database's clock.
CREATE TABLE IF NOT EXISTS tm_audit (
    id         BINARY(16)   NOT NULL PRIMARY KEY,  -- UUIDv7
    at         BIGINT       NOT NULL,
    message_id BINARY(16)   NOT NULL,
    action     VARCHAR(32)  NOT NULL,              -- confirm, cancel, retry, view
    actor      TEXT         NOT NULL,              -- who
    via        TEXT         NOT NULL,              -- by what means: console, cli, code
    reason     TEXT         NOT NULL,
    evidence   TEXT,                               -- what the fence said then
    KEY tm_audit_message (message_id, id)
) ENGINE = InnoDB, DEFAULT CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS tm_process (
    token      BINARY(16) NOT NULL PRIMARY KEY,    -- by which it holds messages
    started_at BIGINT     NOT NULL,
    seen_at    BIGINT     NOT NULL,
    about      MEDIUMTEXT NOT NULL                 -- JSON
) ENGINE = InnoDB, DEFAULT CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin;

UPDATE tm_schema SET version = 4 WHERE part = 'message';
