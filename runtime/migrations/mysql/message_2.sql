-- Several services over one store: each delivers its own messages. What was stored before there were services, or
-- by a process that knows of none, belongs to `default`. `package`: of the function that named a check-back handler,
-- to tell two handlers of one name apart. A handler of a named service is in `answered_by` as
-- handler:@<service>:<name>, so each claim is one range of an index.
-- One statement, which a crash leaves done or not done; what is done already is not done again.
SET @tm_upgrade = IF(
    EXISTS (SELECT 1 FROM information_schema.COLUMNS
            WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'tm_message' AND COLUMN_NAME = 'service'),
    'DO 0',
    'ALTER TABLE tm_message
        ADD COLUMN service VARCHAR(100) NOT NULL DEFAULT ''default'',
        ADD COLUMN package VARCHAR(255),
        MODIFY COLUMN answered_by VARCHAR(400) NOT NULL,
        DROP KEY tm_message_due,
        ADD KEY tm_message_due (state, service, due_at)');
PREPARE tm_upgrade FROM @tm_upgrade;
EXECUTE tm_upgrade;
DEALLOCATE PREPARE tm_upgrade;

UPDATE tm_schema SET version = 2 WHERE part = 'message';
