-- Format 1 of the schema. Executed once, in a transaction, with the schema as search_path.
-- Texts that may hold NUL (names, keys, reasons) are bytea. Times are milliseconds since 1970.

CREATE TABLE meta (
    one bool PRIMARY KEY DEFAULT true CHECK (one),
    format int NOT NULL,
    oldest_reader int NOT NULL,
    log_id uuid NOT NULL,
    shares int NOT NULL,
    -- Everything before it was trimmed.
    first_seq bigint NOT NULL DEFAULT 1,
    -- The dedup windows that all instances agree on.
    dedup_window bigint NOT NULL,
    dedup_window_unkeyed bigint NOT NULL,
    -- A claim is in the bucket of the end of its window: until / claim_span * claim_span.
    claim_span bigint NOT NULL,
    -- The newest change of a document, and the newest deletion.
    documents bigint NOT NULL DEFAULT 0,
    deletions bigint NOT NULL DEFAULT 0
);

-- Bodies that became durable together. Their format numbers them from 1, not from `first`.
CREATE TABLE block (
    last bigint PRIMARY KEY,
    first bigint NOT NULL,
    kept_at bigint NOT NULL,
    -- The append that stored it.
    batch uuid NOT NULL,
    -- The bytes of all blocks up to this one, also of those that were trimmed.
    total bigint NOT NULL,
    -- Raised whenever a body of the block is deleted.
    edition int NOT NULL DEFAULT 0,
    format smallint NOT NULL,
    sums bytea NOT NULL,
    bodies bytea NOT NULL
);
ALTER TABLE block ALTER bodies SET STORAGE EXTERNAL;

-- The dedup keys. A bucket has a partition, claim_<bucket>_<length>: the windows of its keys end within that length after
-- the bucket's number. It is dropped as a whole when they have ended.
CREATE TABLE claim (
    key uuid NOT NULL,
    seq bigint NOT NULL,
    part int NOT NULL,
    until bigint NOT NULL,
    bucket bigint NOT NULL
) PARTITION BY LIST (bucket);
-- Each append looks for its keys in every partition. With a B-tree that is half of its work.
CREATE INDEX claim_key ON claim USING hash (key);
CREATE TABLE claim_default PARTITION OF claim DEFAULT;

-- The newest event of each state.
CREATE TABLE state (
    key uuid PRIMARY KEY,
    hash uuid NOT NULL,
    seq bigint NOT NULL,
    part int NOT NULL,
    until bigint NOT NULL
);

CREATE TABLE deletion (
    seq bigint PRIMARY KEY,
    number bigint NOT NULL UNIQUE,
    at bigint NOT NULL
);

CREATE TABLE instance (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    version text NOT NULL,
    format int NOT NULL,
    -- Another value with each beat.
    beat uuid NOT NULL,
    -- After this time without another beat it is dead.
    lease bigint NOT NULL,
    -- The newest change of a document that the instance has applied.
    documents bigint NOT NULL,
    -- The fingerprint of the settings that it runs, once it has said so.
    settings text NOT NULL DEFAULT ''
) WITH (fillfactor = 50);

-- The shares of dispatch. The last one, numbered meta.shares, is the housekeeper's.
CREATE TABLE share (
    no int PRIMARY KEY,
    holder uuid,
    epoch bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE progress (
    consumer bytea NOT NULL,
    share int NOT NULL,
    head bytea NOT NULL,
    -- Another one with each save. A save names those that it may have been made from.
    edition uuid NOT NULL DEFAULT gen_random_uuid(),
    PRIMARY KEY (consumer, share)
) WITH (fillfactor = 50);

CREATE TABLE progress_row (
    consumer bytea NOT NULL,
    share int NOT NULL,
    key bytea NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (consumer, share, key)
) WITH (fillfactor = 50);

CREATE TABLE dead (
    seq bigint NOT NULL,
    part int NOT NULL,
    consumer bytea NOT NULL,
    attempts bigint NOT NULL,
    reason bytea NOT NULL,
    at bigint NOT NULL,
    PRIMARY KEY (seq, part, consumer)
);
CREATE INDEX dead_consumer ON dead (consumer, seq, part);

CREATE TABLE document (
    key bytea PRIMARY KEY,
    value bytea NOT NULL,
    version bigint NOT NULL
);

-- What each instance's index knows beside the log, for the indexes of the others.
CREATE TABLE note (
    id bigserial PRIMARY KEY,
    instance uuid NOT NULL,
    at bigint NOT NULL,
    body bytea NOT NULL
);

-- What administrators asked for, until the holder of the share has done it.
CREATE TABLE command (
    id bigserial PRIMARY KEY,
    share int NOT NULL,
    consumer bytea NOT NULL,
    body bytea NOT NULL
);
CREATE INDEX command_share ON command (share, id);
