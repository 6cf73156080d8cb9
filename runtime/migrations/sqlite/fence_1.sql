-- In the business database: one row a call, and the identity of the database.
CREATE TABLE IF NOT EXISTS tm_schema (part TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL) STRICT;

CREATE TABLE tm_fence (
    call_id BLOB    NOT NULL PRIMARY KEY,      -- UUIDv7
    outcome INTEGER NOT NULL,                  -- 1 committed, 2 tombstone, 3 withheld
    amended BLOB                               -- the payload, when the transaction replaced it
) STRICT, WITHOUT ROWID;

CREATE TABLE tm_fence_database (
    singleton INTEGER NOT NULL PRIMARY KEY CHECK (singleton = 1),
    identity  BLOB    NOT NULL
) STRICT;
INSERT INTO tm_fence_database (singleton, identity) VALUES (1, randomblob(16));

INSERT INTO tm_schema (part, version) VALUES ('fence', 1);
