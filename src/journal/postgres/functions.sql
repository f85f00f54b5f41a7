-- Functions of format 1. A version is part of each name: a function is never replaced, so that instances of
-- different versions can share the database. Each is one call in autocommit, at READ COMMITTED: every statement
-- in it sees what was committed before the statement.

-- The number of an advisory lock: 1 appends, 2 the schema, 3 dead letters beside deletions, 4 notes.
CREATE FUNCTION lock_1(number int) RETURNS void LANGUAGE sql AS
$$ SELECT pg_advisory_xact_lock(hashtext(current_schema()), number) $$;

-- The time of the database, unless a test sets it.
CREATE FUNCTION now_1(set_to bigint) RETURNS bigint LANGUAGE sql AS
$$ SELECT coalesce(set_to, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) $$;

-- Appends blocks, unless a key is held: then it returns the keys that are held, with the events that hold them,
-- and stores nothing. Otherwise it returns one row: held = 0, the first number, and when the bodies became durable.
-- `waited` are the microseconds that it has waited for other appends.
CREATE FUNCTION append_1(
    batch_ uuid,
    -- For each block: how many bodies it has.
    counts int[], formats smallint[], sums_ bytea[], bodies_ bytea[],
    -- For each new event: its key, its state or NULL, its window, the longest rest of an earlier window that makes
    -- it a duplicate, which body (from 0) and part it is, whether to look for it, and whether to store its key.
    keys uuid[], states uuid[], windows bigint[], mosts bigint[], nth int[], parts int[], looks bool[], writes bool[],
    set_to bigint
) RETURNS TABLE (held int, seq bigint, part int, at bigint, waited bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    called timestamptz := clock_timestamp();
    waited_ bigint;
    at_ bigint;
    head bigint := 0;
    first_ bigint;
    kept bigint;
    total_ bigint := 0;
    span bigint;
BEGIN
    PERFORM lock_1(1);
    waited_ := extract(epoch FROM clock_timestamp() - called) * 1000000;
    at_ := now_1(set_to);
    RETURN QUERY
        WITH found AS MATERIALIZED (
            SELECT c.key, c.seq, c.part, c.until FROM claim c WHERE c.key = ANY (keys) AND c.until > at_
        ), stated AS MATERIALIZED (
            SELECT s.key, s.hash, s.seq, s.part, s.until FROM state s WHERE s.key = ANY (states) AND s.until > at_
        ), asked AS MATERIALIZED (
            SELECT a.i::int, a.key, a.state, a.most
            FROM unnest(keys, states, mosts, looks) WITH ORDINALITY AS a (key, state, most, look, i)
            WHERE a.look AND EXISTS (SELECT FROM found UNION ALL SELECT FROM stated)
        )
        SELECT DISTINCT ON (h.i) h.i, h.seq, h.part, at_, waited_ FROM (
            SELECT a.i, f.seq, f.part FROM asked a JOIN found f ON f.key = a.key
            WHERE a.state IS NULL AND f.until - at_ <= a.most
            UNION ALL
            SELECT a.i, s.seq, s.part FROM asked a JOIN stated s ON s.key = a.state AND s.hash = a.key
            WHERE s.until - at_ <= a.most
        ) h ORDER BY h.i, h.seq DESC, h.part DESC;
    IF FOUND THEN
        -- A transaction without a write does not wait for the standby, and the answer must be as durable as the
        -- event that it stands for.
        PERFORM pg_logical_emit_message(true, 'offhook', '');
        RETURN;
    END IF;

    SELECT b.last, b.kept_at, b.total INTO head, kept, total_ FROM block b ORDER BY b.last DESC LIMIT 1;
    head := coalesce(head, 0);
    total_ := coalesce(total_, 0);
    kept := greatest(kept, at_);
    first_ := head + 1;
    FOR i IN 1 .. cardinality(counts) LOOP
        total_ := total_ + octet_length(sums_[i]) + octet_length(bodies_[i]);
        INSERT INTO block (last, first, kept_at, batch, total, format, sums, bodies)
        VALUES (head + counts[i], head + 1, kept, batch_, total_, formats[i], sums_[i], bodies_[i]);
        head := head + counts[i];
    END LOOP;
    SELECT m.claim_span INTO span FROM meta m;
    INSERT INTO claim (key, seq, part, until, bucket)
        SELECT n.key, first_ + n.nth, n.part, n.until, n.until / span * span
        FROM (SELECT u.key, u.nth, u.part, at_ + least(u.length, 9223372036854775807 - at_) AS until
              FROM unnest(keys, states, windows, nth, parts, writes) AS u (key, state, length, nth, part, is_new)
              WHERE u.is_new AND u.state IS NULL AND u.length > 0) n;
    INSERT INTO state (key, hash, seq, part, until)
        SELECT u.state, u.key, first_ + u.nth, u.part, at_ + least(u.length, 9223372036854775807 - at_)
        FROM unnest(keys, states, windows, nth, parts, writes) AS u (key, state, length, nth, part, is_new)
        WHERE u.is_new AND u.state IS NOT NULL
        ON CONFLICT (key) DO UPDATE
        SET hash = excluded.hash, seq = excluded.seq, part = excluded.part, until = excluded.until;
    RETURN QUERY VALUES (0, first_, 0, kept, waited_);
END $$;

-- Whether an append was committed whose answer was lost; waits until it is decided.
CREATE FUNCTION settle_1(batch_ uuid, after_ bigint) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_1(1);
    RETURN EXISTS (SELECT FROM block WHERE last > after_ AND batch = batch_);
END $$;

-- Saves changes of consumers' progress. Returns for each of them: 0 it is saved; 1 its share is not held under that
-- epoch any more; 2 the stored progress is not what the change was made from: the database has gone back since; 3 there is
-- no stored progress: the consumer was forgotten, or the database has gone back behind its start. A take-over waits for this
-- transaction, so it finds what is saved here.
CREATE FUNCTION save_1(
    shares int[], holders uuid[], epochs bigint[], consumers bytea[], heads bytea[], editions uuid[],
    -- Each change may have been made from known[known_from : known_to], from anything where that is NULL.
    known_from int[], known_to int[], known uuid[],
    row_of int[], row_keys bytea[], row_values bytea[],
    revived_of int[], revived_seqs bigint[], revived_parts int[],
    dead_of int[], dead_seqs bigint[], dead_parts int[], dead_attempts bigint[], dead_reasons bytea[], dead_ats bigint[]
) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
    held int[];
    added int[];
BEGIN
    IF cardinality(revived_of) > 0 OR cardinality(dead_of) > 0 THEN
        -- A deletion that runs is done before this looks, or begins after it. Before all other locks, as there.
        PERFORM pg_advisory_xact_lock_shared(hashtext(current_schema()), 3);
    END IF;
    PERFORM FROM share s WHERE s.no = ANY (shares) ORDER BY s.no FOR SHARE;
    -- One that comes late, over a connection that was given up, waits here for a newer one, and then changes nothing.
    WITH saved AS (
        UPDATE progress p SET head = c.head, edition = c.edition
        FROM unnest(shares, holders, epochs, consumers, heads, editions, known_from, known_to)
            WITH ORDINALITY AS c (no, holder, epoch, consumer, head, edition, first, last, i)
        JOIN share s ON s.no = c.no AND s.holder = c.holder AND s.epoch = c.epoch
        WHERE p.consumer = c.consumer AND p.share = c.no
        AND (c.first IS NULL OR p.edition = ANY (known[c.first : c.last]))
        RETURNING c.i::int AS i)
    SELECT coalesce(array_agg(v.i), '{}') INTO held FROM saved v;
    IF cardinality(held) < cardinality(shares) THEN
        -- Where nobody has read anything, there may be nothing.
        added := ARRAY(
            SELECT c.i::int FROM unnest(shares, holders, epochs, known_from) WITH ORDINALITY AS c (no, holder, epoch, first, i)
            JOIN share s ON s.no = c.no AND s.holder = c.holder AND s.epoch = c.epoch
            WHERE c.first IS NULL AND c.i <> ALL (held));
        INSERT INTO progress (consumer, share, head, edition)
            SELECT consumers[h.i], shares[h.i], heads[h.i], editions[h.i] FROM unnest(added) AS h (i)
            ON CONFLICT (consumer, share) DO UPDATE SET head = excluded.head, edition = excluded.edition;
        held := held || added;
    END IF;
    DELETE FROM progress_row p USING unnest(row_of, row_keys, row_values) AS r (i, key, value)
        WHERE r.value IS NULL AND r.i = ANY (held)
        AND p.consumer = consumers[r.i] AND p.share = shares[r.i] AND p.key = r.key;
    INSERT INTO progress_row (consumer, share, key, value)
        SELECT consumers[r.i], shares[r.i], r.key, r.value FROM unnest(row_of, row_keys, row_values) AS r (i, key, value)
        WHERE r.value IS NOT NULL AND r.i = ANY (held)
        ON CONFLICT (consumer, share, key) DO UPDATE SET value = excluded.value;
    DELETE FROM dead d USING unnest(revived_of, revived_seqs, revived_parts) AS r (i, seq, part)
        WHERE r.i = ANY (held) AND d.seq = r.seq AND d.part = r.part AND d.consumer = consumers[r.i];
    IF cardinality(dead_of) > 0 THEN
        INSERT INTO dead (seq, part, consumer, attempts, reason, at)
            SELECT d.seq, d.part, consumers[d.i], d.attempts, d.reason, d.at
            FROM unnest(dead_of, dead_seqs, dead_parts, dead_attempts, dead_reasons, dead_ats)
                AS d (i, seq, part, attempts, reason, at)
            WHERE d.i = ANY (held) AND NOT EXISTS (SELECT FROM deletion x WHERE x.seq = d.seq)
            ON CONFLICT (seq, part, consumer) DO UPDATE
            SET attempts = excluded.attempts, reason = excluded.reason, at = excluded.at;
    END IF;
    IF cardinality(held) = cardinality(shares) THEN
        RETURN array_fill(0, ARRAY[cardinality(shares)]);
    END IF;
    RETURN ARRAY(
        SELECT CASE WHEN c.i = ANY (held) THEN 0 WHEN s.no IS NULL THEN 1 WHEN p.share IS NULL THEN 3 ELSE 2 END
        FROM unnest(shares, holders, epochs, consumers) WITH ORDINALITY AS c (no, holder, epoch, consumer, i)
        LEFT JOIN share s ON s.no = c.no AND s.holder = c.holder AND s.epoch = c.epoch
        LEFT JOIN progress p ON p.consumer = c.consumer AND p.share = c.no ORDER BY c.i);
END $$;

-- Takes a share from whatever holds it. Returns the new epoch; NULL if there is no such share.
CREATE FUNCTION seize_1(no_ int, holder_ uuid) RETURNS bigint LANGUAGE sql AS
$$ UPDATE share SET holder = holder_, epoch = epoch + 1 WHERE no = no_ RETURNING epoch $$;

-- Takes a share that no other living instance holds. Returns the new epoch; NULL if it is held, or was taken meanwhile.
CREATE FUNCTION take_1(no_ int, epoch_ bigint, holder_ uuid) RETURNS bigint LANGUAGE sql AS $$
    UPDATE share SET holder = holder_, epoch = epoch + 1
    WHERE no = no_ AND epoch = epoch_
    AND (holder = holder_ OR NOT EXISTS (SELECT FROM instance WHERE id = share.holder))
    AND EXISTS (SELECT FROM instance WHERE id = holder_)
    RETURNING epoch
$$;

-- Gives a share back.
CREATE FUNCTION give_back_1(no_ int, epoch_ bigint, holder_ uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE share SET holder = NULL WHERE no = no_ AND epoch = epoch_ AND holder = holder_;
    IF FOUND THEN
        PERFORM pg_notify(current_schema(), 's');
    END IF;
END $$;

-- Adds an instance. Returns NULL, or the name of another instance while the dedup windows differ from those of
-- the database. Without another instance the windows are changed, and the buckets of keys to come.
CREATE FUNCTION join_1(
    id_ uuid, name_ text, version_ text, format_ int, beat_ uuid, lease_ bigint, applied_ bigint,
    window_ bigint, unkeyed_ bigint, span_ bigint
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    other text;
    bucket_ record;
BEGIN
    PERFORM FROM meta FOR UPDATE;
    IF EXISTS (SELECT FROM meta WHERE (dedup_window, dedup_window_unkeyed) <> (window_, unkeyed_)) THEN
        SELECT name INTO other FROM instance ORDER BY id LIMIT 1;
        IF FOUND THEN
            RETURN other;
        END IF;
        -- An append of an instance that was taken for dead is done before.
        PERFORM lock_1(1);
        UPDATE meta SET dedup_window = window_, dedup_window_unkeyed = unkeyed_, claim_span = span_;
        -- What is there stays where it is. A longer bucket may have the number of a shorter one, and then they are one.
        FOR bucket_ IN SELECT * FROM buckets_1() b WHERE b.length < span_ LOOP
            EXECUTE format('ALTER TABLE %I RENAME TO %I', bucket_.name, format('claim_%s_%s', bucket_.bucket, span_));
        END LOOP;
    END IF;
    INSERT INTO instance (id, name, version, format, beat, lease, documents)
        VALUES (id_, name_, version_, format_, beat_, lease_, applied_);
    RETURN NULL;
END $$;

-- Renews an instance's lease, and returns what all instances must know. `is_alive` is false if the instance was
-- declared dead.
CREATE FUNCTION beat_1(id_ uuid, beat_ uuid, documents_ bigint, settings_ text) RETURNS TABLE (
    is_alive bool, head bigint, first_seq bigint, documents bigint, deletions bigint, command bigint, note bigint,
    ids uuid[], beats uuid[], applied bigint[], shares int[], holders uuid[], epochs bigint[], leases bigint[],
    names text[], settings text[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    UPDATE instance SET beat = beat_, documents = documents_, settings = settings_ WHERE id = id_;
    RETURN QUERY SELECT FOUND,
        coalesce((SELECT b.last FROM block b ORDER BY b.last DESC LIMIT 1), 0),
        m.first_seq, m.documents, m.deletions,
        coalesce((SELECT max(c.id) FROM command c), 0), coalesce((SELECT max(n.id) FROM note n), 0),
        i.ids, i.beats, i.applied, s.nos, s.holders, s.epochs, i.leases, i.names, i.settings
    FROM meta m,
        (SELECT array_agg(id ORDER BY id) AS ids, array_agg(beat ORDER BY id) AS beats,
            array_agg(documents ORDER BY id) AS applied, array_agg(lease ORDER BY id) AS leases,
            array_agg(name ORDER BY id) AS names, array_agg(settings ORDER BY id) AS settings FROM instance) i,
        (SELECT array_agg(no ORDER BY no) AS nos, array_agg(holder ORDER BY no) AS holders,
            array_agg(epoch ORDER BY no) AS epochs FROM share) s;
END $$;

-- The same, with all else that a renewal must know, in one call. If all instances have a version that writes a newer format
-- than is written, it is written from now on: `is_raised`.
CREATE FUNCTION beat_2(
    id_ uuid, beat_ uuid, documents_ bigint, settings_ text,
    -- The format that the instance's version writes, and the oldest one whose versions can read that.
    format_ int, oldest_ int,
    -- The newest body that the instance has seen, or NULL: whether it `is_there`.
    seen bigint, seen_batch uuid,
    -- Whether to look for a synchronous standby.
    asks_for_standby bool
) RETURNS TABLE (
    is_alive bool, head bigint, first_seq bigint, documents bigint, deletions bigint, command bigint, note bigint,
    ids uuid[], beats uuid[], applied bigint[], shares int[], holders uuid[], epochs bigint[], leases bigint[],
    names text[], settings text[],
    log_id uuid, oldest_reader int, is_there bool, fsync text, full_page_writes text, synchronous_commit text,
    standby_names text, has_standby bool, is_raised bool
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    raised bool := false;
BEGIN
    -- While an older version lives, nothing waits for those who change `meta`.
    IF EXISTS (SELECT FROM meta m WHERE m.format < format_)
        AND NOT EXISTS (SELECT FROM instance i WHERE i.format < format_) THEN
        -- Who joins has joined before, or sees what is written now.
        PERFORM FROM meta FOR UPDATE;
        UPDATE meta SET format = format_, oldest_reader = greatest(oldest_reader, oldest_)
            WHERE format < format_ AND NOT EXISTS (SELECT FROM instance i WHERE i.format < format_);
        raised := FOUND;
    END IF;
    RETURN QUERY SELECT b.*, m.log_id, m.oldest_reader,
        seen IS NULL OR EXISTS (SELECT FROM block k WHERE k.last = seen AND k.batch = seen_batch),
        current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
        current_setting('synchronous_standby_names'),
        -- `sync_state` is NULL for a user who may not see it.
        asks_for_standby AND EXISTS (
            SELECT FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum') AND state = 'streaming'),
        raised
    FROM beat_1(id_, beat_, documents_, settings_) b, meta m;
END $$;

-- Removes an instance whose beat has not changed for too long. Returns whether it was still the same.
CREATE FUNCTION bury_1(id_ uuid, beat_ uuid) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM instance WHERE id = id_ AND beat = beat_;
    RETURN FOUND;
END $$;

-- Removes an instance at its stop, and gives back all its shares.
CREATE FUNCTION leave_1(id_ uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- In the order in which a save takes them.
    PERFORM FROM share WHERE holder = id_ ORDER BY no FOR UPDATE;
    UPDATE share SET holder = NULL WHERE holder = id_;
    DELETE FROM instance WHERE id = id_;
    PERFORM pg_notify(current_schema(), 's');
END $$;

-- Adds a consumer: its head in each share that has none.
CREATE FUNCTION introduce_1(consumer_ bytea, head_ bytea) RETURNS void LANGUAGE sql AS $$
    INSERT INTO progress (consumer, share, head)
    SELECT consumer_, no, head_ FROM meta, generate_series(0, meta.shares - 1) AS no
    ON CONFLICT (consumer, share) DO NOTHING
$$;

-- Not in SQL, where all statements see the same. A save is done before this deletes anything, or begins after it: it has
-- the shares first.
CREATE FUNCTION forget_consumer_1(consumer_ bytea) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM share ORDER BY no FOR UPDATE;
    DELETE FROM progress WHERE consumer = consumer_;
    DELETE FROM progress_row WHERE consumer = consumer_;
    DELETE FROM command WHERE consumer = consumer_;
END $$;

-- The same, unless there is a document with this key again.
CREATE FUNCTION forget_removed_1(consumer_ bytea, key_ bytea) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- A change of documents is done before this looks, or begins after it.
    PERFORM FROM meta FOR UPDATE;
    IF NOT EXISTS (SELECT FROM document WHERE key = key_) THEN
        PERFORM forget_consumer_1(consumer_);
    END IF;
END $$;

-- Writes or removes a document. Returns the number of the change; NULL if the document is not what is expected:
-- mode 0 expects anything, 1 none, 2 the version.
CREATE FUNCTION put_document_1(key_ bytea, value_ bytea, mode int, expected bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    found_ bigint;
    number bigint;
BEGIN
    -- Changes of documents follow each other.
    SELECT documents + 1 INTO number FROM meta FOR UPDATE;
    SELECT version INTO found_ FROM document WHERE key = key_;
    IF (mode = 1 AND found_ IS NOT NULL) OR (mode = 2 AND found_ IS DISTINCT FROM expected) THEN
        RETURN NULL;
    END IF;
    UPDATE meta SET documents = number;
    IF value_ IS NULL THEN
        DELETE FROM document WHERE key = key_;
    ELSE
        INSERT INTO document (key, value, version) VALUES (key_, value_, number)
            ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version;
    END IF;
    PERFORM pg_notify(current_schema(), 'd' || number);
    RETURN number;
END $$;

-- Writes a document that must not be there, and has its consumer start at `head_` in all shares, whatever an earlier one
-- of that name has left. Returns the number of the change; NULL, and nothing is changed, if there is such a document; -1,
-- and nothing is changed, if there are `most` documents whose keys begin with `prefix` without it.
CREATE FUNCTION add_document_2(
    key_ bytea, value_ bytea, consumer_ bytea, head_ bytea, prefix bytea, most bigint
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
BEGIN
    -- Changes of documents follow each other, so that no other one comes between the count and the change.
    PERFORM FROM meta FOR UPDATE;
    IF NOT EXISTS (SELECT FROM document WHERE key = key_) AND most <= (
        SELECT count(*) FROM document WHERE key >= prefix AND substring(key FROM 1 FOR length(prefix)) = prefix
    ) THEN
        RETURN -1;
    END IF;
    number := put_document_1(key_, value_, 1, 0);
    IF number IS NOT NULL THEN
        PERFORM forget_consumer_1(consumer_);
        PERFORM introduce_1(consumer_, head_);
    END IF;
    RETURN number;
END $$;

-- Writes a block again without some of its bodies. Returns false if the block has changed meanwhile, and then
-- nothing is written. `own` are all bodies to delete in it, `erased` those that were not deleted before.
CREATE FUNCTION erase_1(
    last_ bigint, edition_ int, sums_ bytea, bodies_ bytea, own bigint[], erased bigint[], at_ bigint
) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_1(3);
    IF cardinality(erased) > 0 THEN
        PERFORM FROM meta FOR UPDATE;
        UPDATE block SET sums = sums_, bodies = bodies_, edition = edition + 1
            WHERE last = last_ AND edition = edition_;
        IF NOT FOUND THEN
            RETURN false;
        END IF;
        INSERT INTO deletion (seq, number, at)
            SELECT e.seq, meta.deletions + e.i, at_ FROM meta, unnest(erased) WITH ORDINALITY AS e (seq, i)
            ON CONFLICT (seq) DO UPDATE SET number = excluded.number, at = excluded.at;
        UPDATE meta SET deletions = deletions + cardinality(erased);
        PERFORM pg_notify(current_schema(), 'x');
    END IF;
    DELETE FROM dead WHERE seq = ANY (own);
    RETURN true;
END $$;

-- Removes the oldest bodies up to `up_to`, at most those of 64 blocks, and never the newest body. Returns the number of the last
-- one that is gone, and how many went.
CREATE FUNCTION trim_1(up_to bigint, OUT gone bigint, OUT removed bigint) LANGUAGE plpgsql AS $$
DECLARE
    edge bigint;
BEGIN
    SELECT first_seq - 1 INTO gone FROM meta FOR UPDATE;
    removed := 0;
    SELECT least(up_to, last - 1) INTO edge FROM block ORDER BY last DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- From where the log begins: before it are the index entries of what was removed, until VACUUM has been there.
    edge := least(edge, (SELECT max(b.last) FROM (SELECT last FROM block WHERE last > gone ORDER BY last LIMIT 64) b));
    IF edge <= gone THEN
        RETURN;
    END IF;
    removed := edge - gone;
    DELETE FROM dead WHERE seq <= edge;
    DELETE FROM deletion WHERE seq <= edge;
    DELETE FROM block WHERE last > gone AND last <= edge;
    gone := edge;
    UPDATE meta SET first_seq = edge + 1;
END $$;

-- The partitions of buckets, and the lengths in their names.
CREATE FUNCTION buckets_1() RETURNS TABLE (name name, bucket bigint, length bigint) LANGUAGE sql AS $$
    SELECT c.relname, split_part(c.relname, '_', 2)::bigint, split_part(c.relname, '_', 3)::bigint
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'claim'::regclass AND c.relname ~ '^claim_[0-9]+_[0-9]+$'
$$;

-- Makes the partitions of the buckets to come. Returns how many were made. Appends wait for it, so it waits for no
-- transaction that reads the keys, as a dump does: then it fails, and keys go to the default partition meanwhile.
CREATE FUNCTION make_claims_1(set_to bigint) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    at_ bigint := now_1(set_to);
    span bigint;
    farthest bigint;
    missing bigint[];
    bucket_ bigint;
    name_ text;
BEGIN
    SELECT m.claim_span, m.dedup_window INTO span, farthest FROM meta m;
    farthest := (at_ + least(farthest, 40 * span)) / span * span + 2 * span;
    missing := ARRAY(
        SELECT g.bucket FROM generate_series(at_ / span * span, farthest, span) AS g (bucket)
        WHERE NOT EXISTS (SELECT FROM buckets_1() b WHERE b.bucket = g.bucket) ORDER BY g.bucket);
    IF cardinality(missing) = 0 THEN
        RETURN 0;
    END IF;
    PERFORM set_config('lock_timeout', '500ms', true);
    PERFORM lock_1(1);
    LOCK TABLE claim_default IN ACCESS EXCLUSIVE MODE NOWAIT;
    FOREACH bucket_ IN ARRAY missing LOOP
        name_ := format('claim_%s_%s', bucket_, span);
        EXECUTE format('CREATE TABLE %I (LIKE claim)', name_);
        IF EXISTS (SELECT FROM claim_default) THEN
            EXECUTE format('WITH moved AS (DELETE FROM claim_default WHERE bucket = %s RETURNING *) '
                'INSERT INTO %I SELECT * FROM moved', bucket_, name_);
        END IF;
        EXECUTE format('ALTER TABLE claim ATTACH PARTITION %I FOR VALUES IN (%s)', name_, bucket_);
    END LOOP;
    RETURN cardinality(missing);
END $$;

-- Drops the partitions whose windows have ended. Returns how many were dropped. It waits as little as make_claims_1.
CREATE FUNCTION drop_claims_1(set_to bigint) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    at_ bigint := now_1(set_to);
    ended name[];
    name_ name;
BEGIN
    -- One bucket is left over, for a clock that is set back a little.
    ended := ARRAY(
        SELECT b.name FROM meta m, buckets_1() b
        WHERE b.bucket + b.length <= at_ / m.claim_span * m.claim_span - m.claim_span);
    IF cardinality(ended) = 0 THEN
        RETURN 0;
    END IF;
    PERFORM set_config('lock_timeout', '500ms', true);
    PERFORM lock_1(1);
    -- What DROP TABLE locks, but for the other partitions: VACUUM may be in one.
    LOCK TABLE ONLY claim IN ACCESS EXCLUSIVE MODE NOWAIT;
    LOCK TABLE claim_default IN ACCESS EXCLUSIVE MODE NOWAIT;
    FOREACH name_ IN ARRAY ended LOOP
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE NOWAIT', name_);
        EXECUTE format('DROP TABLE %I', name_);
    END LOOP;
    RETURN cardinality(ended);
END $$;

-- The same, but sooner: a bucket is half of a window now, and leaves no other one over.
CREATE FUNCTION drop_claims_2(set_to bigint) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    at_ bigint := now_1(set_to);
    ended name[];
    name_ name;
BEGIN
    -- An hour at most is left over, for a clock that is set back a little.
    ended := ARRAY(
        SELECT b.name FROM meta m, buckets_1() b
        WHERE b.bucket + b.length <= at_ - least(m.claim_span, 3600000));
    IF cardinality(ended) = 0 THEN
        RETURN 0;
    END IF;
    PERFORM set_config('lock_timeout', '500ms', true);
    PERFORM lock_1(1);
    -- What DROP TABLE locks, but for the other partitions: VACUUM may be in one.
    LOCK TABLE ONLY claim IN ACCESS EXCLUSIVE MODE NOWAIT;
    LOCK TABLE claim_default IN ACCESS EXCLUSIVE MODE NOWAIT;
    FOREACH name_ IN ARRAY ended LOOP
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE NOWAIT', name_);
        EXECUTE format('DROP TABLE %I', name_);
    END LOOP;
    RETURN cardinality(ended);
END $$;

-- Removes the keys whose windows have ended, and that are in no bucket. No append waits for it. Returns how many there
-- were.
CREATE FUNCTION sweep_claims_1(set_to bigint) RETURNS bigint LANGUAGE sql AS $$
    WITH ended AS (SELECT now_1(set_to) - m.claim_span AS at FROM meta m),
        claims AS (DELETE FROM claim_default c USING ended e WHERE c.until <= e.at RETURNING 1),
        states AS (DELETE FROM state s USING ended e WHERE s.until <= e.at RETURNING 1)
    SELECT (SELECT count(*) FROM claims) + (SELECT count(*) FROM states)
$$;

-- The same, but as soon as drop_claims_2.
CREATE FUNCTION sweep_claims_2(set_to bigint) RETURNS bigint LANGUAGE sql AS $$
    WITH ended AS (SELECT now_1(set_to) - least(m.claim_span, 3600000) AS at FROM meta m),
        claims AS (DELETE FROM claim_default c USING ended e WHERE c.until <= e.at RETURNING 1),
        states AS (DELETE FROM state s USING ended e WHERE s.until <= e.at RETURNING 1)
    SELECT (SELECT count(*) FROM claims) + (SELECT count(*) FROM states)
$$;

-- Adds a note. Notes become visible in the order of their numbers.
CREATE FUNCTION add_note_1(instance_ uuid, body_ bytea, set_to bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
BEGIN
    PERFORM lock_1(4);
    INSERT INTO note (instance, at, body) VALUES (instance_, now_1(set_to), body_) RETURNING id INTO number;
    PERFORM pg_notify(current_schema(), 'n' || number);
    RETURN number;
END $$;
