-- Several services over one store: each delivers its own messages. What was stored before there were services, or
-- by a process that knows of none, belongs to `default`.
ALTER TABLE tm_message ADD COLUMN service text NOT NULL DEFAULT 'default';
-- The package of the function that named a check-back handler, to tell two handlers of one name apart.
ALTER TABLE tm_message ADD COLUMN package text;
-- A handler of a named service is in `answered_by` as handler:@<service>:<name>, so each claim is one range of an index.
DROP INDEX tm_message_confirmed;
CREATE INDEX tm_message_confirmed ON tm_message (service, due_at) WHERE state = 1;

UPDATE tm_schema SET version = 2 WHERE part = 'message';
