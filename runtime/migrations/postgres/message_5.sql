-- What went wrong with a message, one JSON object a line; null where nothing did.
ALTER TABLE tm_message ADD COLUMN history text;

-- What a record is about besides a message: an operation; or instead of one, and then message_id is all zeros: a pause.
ALTER TABLE tm_audit ADD COLUMN subject text;

-- What is paused. By the database's clock.
CREATE TABLE tm_pause (
    what     text   NOT NULL PRIMARY KEY,  -- all, check_backs, exchange:<name>, queue:<name>
    reason   text   NOT NULL,
    actor    text   NOT NULL,              -- who
    via      text   NOT NULL,              -- by what means: console, cli, code
    began_at bigint NOT NULL,
    ends_at  bigint NOT NULL
);

-- Decisions about many messages, which go on where whoever carried them out has stopped.
CREATE TABLE tm_operation (
    id         uuid   NOT NULL PRIMARY KEY,  -- UUIDv7
    about      text   NOT NULL,              -- JSON: what, why, by whom, how fast
    created_at bigint NOT NULL,
    begins_at  bigint NOT NULL,              -- until then nothing is done
    held_by    uuid,                         -- who carries it out
    held_until bigint,
    stopped    text,                         -- by whom, and why
    ended_at   bigint
);
CREATE INDEX tm_operation_open ON tm_operation (begins_at) WHERE ended_at IS NULL;

CREATE TABLE tm_operation_item (
    operation_id uuid   NOT NULL,
    position     bigint NOT NULL,
    message_id   uuid   NOT NULL,
    record_id    uuid   NOT NULL,            -- of the decision, in tm_audit
    outcome      text,                       -- done, refused, failed; null before
    why          text,
    PRIMARY KEY (operation_id, position)
);

UPDATE tm_schema SET version = 5 WHERE part = 'message';
