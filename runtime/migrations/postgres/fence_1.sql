-- In the business database: one row a call, and the identity of the database.
CREATE TABLE IF NOT EXISTS tm_schema (part text PRIMARY KEY, version bigint NOT NULL);

CREATE TABLE tm_fence (
    call_id uuid   NOT NULL PRIMARY KEY,       -- UUIDv7
    outcome bigint NOT NULL,                   -- 1 committed, 2 tombstone, 3 withheld
    amended bytea                              -- the payload, when the transaction replaced it
);

CREATE TABLE tm_fence_database (
    singleton bigint NOT NULL PRIMARY KEY CHECK (singleton = 1),
    identity  uuid   NOT NULL
);
INSERT INTO tm_fence_database (singleton, identity) VALUES (1, gen_random_uuid());

-- What a fenced transaction begins with, and what it ends with. They are functions because a session
-- keeps their plans without a prepared statement, which a transaction pooler would not know.
CREATE FUNCTION tm_fence_enter(entering uuid, expected uuid) RETURNS void
LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
BEGIN
    -- The commit will be durable.
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    -- A client that vanished does not keep the transaction open for hours. For the session, since that is asked
    -- for the first time only: each setting is a call of the operating system.
    IF current_setting('tcp_keepalives_idle')::int NOT BETWEEN 1 AND 10 THEN
        PERFORM set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false),
            set_config('tcp_keepalives_count', '4', false);
    END IF;
    INSERT INTO tm_fence (call_id, outcome) SELECT entering, 1 FROM tm_fence_database WHERE identity = expected;
    IF NOT FOUND THEN
        RAISE 'this is not the database of the fence %', expected USING ERRCODE = 'TMF01';
    END IF;
END $$;

-- Writes the outcome, and fails unless the row was written by this transaction (xmin), and not by one
-- that was committed underneath.
CREATE FUNCTION tm_fence_prove(proven uuid, written bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF written = 1 THEN
        PERFORM FROM tm_fence WHERE call_id = proven AND outcome = 1 AND xmin = pg_current_xact_id()::xid;
    ELSE
        UPDATE tm_fence SET outcome = written
        WHERE call_id = proven AND outcome = 1 AND xmin = pg_current_xact_id()::xid;
    END IF;
    IF NOT FOUND THEN
        RAISE 'the row of the call % is not in this transaction', proven USING ERRCODE = 'TMF02';
    END IF;
END $$;

INSERT INTO tm_schema (part, version) VALUES ('fence', 1);
