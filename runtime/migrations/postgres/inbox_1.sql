-- In the consumer's database: the messages whose effect has happened.
CREATE TABLE IF NOT EXISTS tm_schema (part text PRIMARY KEY, version bigint NOT NULL);

CREATE TABLE tm_inbox (
    queue       text   NOT NULL,
    message_id  uuid   NOT NULL,
    received_at bigint NOT NULL,
    PRIMARY KEY (queue, message_id)
);
CREATE INDEX tm_inbox_age ON tm_inbox (queue, received_at);

INSERT INTO tm_schema (part, version) VALUES ('inbox', 1);
