-- What went wrong with a message, one JSON object a line; null where nothing did. And what a record is about besides a
-- message: an operation; or instead of one, and then message_id is all zeros: a pause. Each is one statement, which a crash leaves
-- done or not done; what is done already is not done again.
SET @tm_upgrade = IF(
    EXISTS (SELECT 1 FROM information_schema.COLUMNS
            WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'tm_message' AND COLUMN_NAME = 'history'),
    'DO 0',
    'ALTER TABLE tm_message ADD COLUMN history TEXT');
PREPARE tm_upgrade FROM @tm_upgrade;
EXECUTE tm_upgrade;
DEALLOCATE PREPARE tm_upgrade;
SET @tm_upgrade = IF(
    EXISTS (SELECT 1 FROM information_schema.COLUMNS
            WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'tm_audit' AND COLUMN_NAME = 'subject'),
    'DO 0',
    'ALTER TABLE tm_audit ADD COLUMN subject TEXT');
PREPARE tm_upgrade FROM @tm_upgrade;
EXECUTE tm_upgrade;
DEALLOCATE PREPARE tm_upgrade;

-- What is paused. By the database's clock.
CREATE TABLE IF NOT EXISTS tm_pause (
    what     VARCHAR(300) NOT NULL PRIMARY KEY,  -- all, check_backs, exchange:<name>, queue:<name>
    reason   TEXT         NOT NULL,
    actor    TEXT         NOT NULL,              -- who
    via      TEXT         NOT NULL,              -- by what means: console, cli, code
    began_at BIGINT       NOT NULL,
    ends_at  BIGINT       NOT NULL
) ENGINE = InnoDB, DEFAULT CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin;

-- Decisions about many messages, which go on where whoever carried them out has stopped.
CREATE TABLE IF NOT EXISTS tm_operation (
    id         BINARY(16) NOT NULL PRIMARY KEY,  -- UUIDv7
    about      MEDIUMTEXT NOT NULL,              -- JSON: what, why, by whom, how fast
    created_at BIGINT     NOT NULL,
    begins_at  BIGINT     NOT NULL,              -- until then nothing is done
    held_by    BINARY(16),                       -- who carries it out
    held_until BIGINT,
    stopped    TEXT,                             -- by whom, and why
    ended_at   BIGINT,
    KEY tm_operation_open (ended_at, begins_at)
) ENGINE = InnoDB, DEFAULT CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS tm_operation_item (
    operation_id BINARY(16) NOT NULL,
    position     BIGINT     NOT NULL,
    message_id   BINARY(16) NOT NULL,
    record_id    BINARY(16) NOT NULL,            -- of the decision, in tm_audit
    outcome      VARCHAR(32),                    -- done, refused, failed; null before
    why          TEXT,
    PRIMARY KEY (operation_id, position)
) ENGINE = InnoDB, DEFAULT CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin;

UPDATE tm_schema SET version = 5 WHERE part = 'message';
