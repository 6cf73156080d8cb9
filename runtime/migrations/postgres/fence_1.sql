-- In the business database: one row a call, and the identity of the database.
CREATE TABLE IF NOT EXISTS tm_schema (part text PRIMARY KEY, version bigint NOT NULL);

CREATE TABLE tm_fence (
    call_id    uuid   NOT NULL PRIMARY KEY,
    outcome    bigint NOT NULL,                -- 1 committed, 2 tombstone, 3 withheld
    amended    bytea,                          -- the payload, when the transaction replaced it
    created_at bigint NOT NULL
);
CREATE INDEX tm_fence_age ON tm_fence (created_at);

CREATE TABLE tm_fence_database (
    singleton bigint NOT NULL PRIMARY KEY CHECK (singleton = 1),
    identity  uuid   NOT NULL
);
INSERT INTO tm_fence_database (singleton, identity) VALUES (1, gen_random_uuid());

INSERT INTO tm_schema (part, version) VALUES ('fence', 1);
