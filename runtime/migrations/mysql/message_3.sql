-- Messages that are delivered later, or not when they are late; and their priority. By the database's clock. State 6:
-- expired, finished as 2 and 3 are.
-- One statement, which a crash leaves done or not done; what is done already is not done again.
SET @tm_upgrade = IF(
    EXISTS (SELECT 1 FROM information_schema.COLUMNS
            WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'tm_message' AND COLUMN_NAME = 'deliver_at'),
    'DO 0',
    'ALTER TABLE tm_message
        ADD COLUMN deliver_at BIGINT,
        ADD COLUMN expires_at BIGINT,
        ADD COLUMN priority BIGINT');
PREPARE tm_upgrade FROM @tm_upgrade;
EXECUTE tm_upgrade;
DEALLOCATE PREPARE tm_upgrade;

UPDATE tm_schema SET version = 3 WHERE part = 'message';
