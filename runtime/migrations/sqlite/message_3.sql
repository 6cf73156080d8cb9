-- Messages that are delivered later, or not when they are late; and their priority. By the database's clock.
ALTER TABLE tm_message ADD COLUMN deliver_at INTEGER;
ALTER TABLE tm_message ADD COLUMN expires_at INTEGER;
ALTER TABLE tm_message ADD COLUMN priority INTEGER;
-- State 6: expired, finished as 2 and 3 are. An index of its own: that of the others has most of the table.
CREATE INDEX tm_message_expired ON tm_message (finished_at) WHERE state = 6;

UPDATE tm_schema SET version = 3 WHERE part = 'message';
