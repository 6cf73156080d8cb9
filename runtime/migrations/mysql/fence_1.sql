-- In the business database: one row a call, and the identity of the database.
CREATE TABLE IF NOT EXISTS tm_schema (part VARCHAR(32) NOT NULL PRIMARY KEY, version BIGINT NOT NULL) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS tm_fence (
    call_id BINARY(16) NOT NULL PRIMARY KEY,      -- UUIDv7
    outcome BIGINT     NOT NULL,                  -- 1 committed, 2 tombstone, 3 withheld
    amended LONGBLOB                              -- the payload, when the transaction replaced it
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS tm_fence_database (
    singleton BIGINT     NOT NULL PRIMARY KEY CHECK (singleton = 1),
    identity  BINARY(16) NOT NULL
) ENGINE = InnoDB;
INSERT IGNORE INTO tm_fence_database (singleton, identity) VALUES (1, UNHEX(REPLACE(UUID(), '-', '')));

INSERT IGNORE INTO tm_schema (part, version) VALUES ('fence', 1);
