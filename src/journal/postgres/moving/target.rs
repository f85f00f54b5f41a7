//! [`PostgresTarget`]: writes a journal into a schema of another name, and gives it its name when it is whole.
//!
//! The schema is called `NAME_moving`, and has two tables more: `moved` says from which journal it comes and whether
//! all dedup keys are there, and `moved_key` holds them until they are divided among the tables of the journal.

use std::sync::Arc;

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::options::PostgresOptions;
use super::super::schema::{is_there, prepare};
use super::super::sql::{number, signed};
use super::Moving;
use super::source::counts;
use crate::clock::Clock;
use crate::journal::dedup_entry::DedupEntry;
use crate::journal::moving::{MoveError, MovedCounts, Reshape};
use crate::journal::sqlite::moving::MovedBlock;
use crate::journal::{Deletion, Document, NamedLetter, SavedProgress, Seq, Share, Version};

/// A journal that is being written.
pub(in crate::journal) struct PostgresTarget {
    moving: Moving,
    /// With the schema that it has until it is whole.
    options: PostgresOptions,
    /// The schema that it is to have.
    schema: String,
    /// Which move has written a block.
    batch: Uuid,
    newest: Seq,
    /// The bytes of all blocks.
    total: i64,
    is_resumed: bool,
    has_keys: bool,
}

impl PostgresTarget {
    /// Begins, or goes on where an earlier process was interrupted that had the same source.
    pub(in crate::journal) async fn open(
        options: PostgresOptions,
        clock: &Arc<dyn Clock>,
        from: &str,
    ) -> Result<Self, MoveError> {
        let schema = options.schema.clone();
        let options = PostgresOptions {
            schema: format!("{schema}_moving"),
            ..options
        };
        let refused = |why: String| MoveError::Refused(format!("{}: {why}", options.hosts()));
        let (connector, moving) = Moving::connect(&options, clock).await?;
        let there = async |name: &str| {
            let found = is_there(&moving.0, name).await;
            found.map_err(|error| refused(error.to_string()))
        };
        if there(&schema).await? {
            let why = format!(
                "the schema {schema} holds a journal already; set journal.schema of the settings of --to to another \
                 name, or drop that schema if nothing in it is needed"
            );
            return Err(refused(why));
        }
        if !moving.call(LOCK, &[]).await?[0].get::<_, bool>(0) {
            let why = format!("another offhook is moving a journal to {schema} now");
            return Err(refused(why));
        }
        let mut is_resumed = false;
        if there(&options.schema).await? {
            is_resumed = moving.call(IS_OURS, &[]).await?[0].get(0)
                && moving.call(FROM, &[&from]).await?[0].get(0);
            if !is_resumed {
                let drop = format!("DROP SCHEMA {} CASCADE", options.schema);
                moving.run(&drop).await?;
            }
        }
        if !is_resumed {
            let prepared = prepare(&connector, &options, None).await;
            prepared.map_err(|error| refused(error.to_string()))?;
            moving.run(CREATE).await?;
            moving.call(BEGIN, &[&from]).await?;
        }
        let rows = moving.call(STATE, &[]).await?;
        let row = &rows[0];
        Ok(Self {
            newest: number(row, 0),
            total: row.get(1),
            has_keys: row.get(2),
            moving,
            options,
            schema,
            batch: Uuid::now_v7(),
            is_resumed,
        })
    }

    /// Up to which body an earlier process had come.
    pub(in crate::journal) fn resumed_at(&self) -> Option<Seq> {
        self.is_resumed.then_some(self.newest)
    }

    /// The newest body that is there.
    pub(in crate::journal) fn newest(&self) -> Seq {
        self.newest
    }

    pub(in crate::journal) fn shares(&self) -> Share {
        self.options.shares
    }

    pub(in crate::journal) fn has_keys(&self) -> bool {
        self.has_keys
    }

    pub(in crate::journal) async fn add_blocks(
        &mut self,
        blocks: &[MovedBlock],
    ) -> Result<(), MoveError> {
        let numbers = |of: fn(&MovedBlock) -> Seq| -> Vec<i64> {
            blocks.iter().map(|one| signed(of(one))).collect()
        };
        let mut totals = Vec::new();
        for MovedBlock { block, .. } in blocks {
            self.total += (block.sums.len() + block.bodies.len()) as i64;
            totals.push(self.total);
        }
        let kept: Vec<i64> = blocks.iter().map(|one| one.kept_at).collect();
        let formats: Vec<i16> = blocks.iter().map(|one| one.block.format as i16).collect();
        let sums: Vec<&[u8]> = blocks.iter().map(|one| &*one.block.sums).collect();
        let bodies: Vec<&[u8]> = blocks.iter().map(|one| &*one.block.bodies).collect();
        let (lasts, firsts) = (numbers(|one| one.last), numbers(|one| one.first));
        let values: [&(dyn ToSql + Sync); 8] = [
            &lasts,
            &firsts,
            &kept,
            &self.batch,
            &totals,
            &formats,
            &sums,
            &bodies,
        ];
        self.moving.call(ADD_BLOCKS, &values).await?;
        self.newest = blocks.last().map_or(self.newest, |last| last.last);
        Ok(())
    }

    pub(in crate::journal) async fn begin_keys(&self) -> Result<(), MoveError> {
        self.moving.run("TRUNCATE moved_key").await
    }

    pub(in crate::journal) async fn add_keys(
        &self,
        entries: &[DedupEntry],
    ) -> Result<u64, MoveError> {
        for some in entries.chunks(KEYS_AT_ONCE) {
            let keys: Vec<Uuid> = some.iter().map(|one| Uuid::from_u128(one.hash)).collect();
            let seqs: Vec<i64> = some.iter().map(|one| signed(one.position.seq())).collect();
            let parts: Vec<i32> = some.iter().map(|one| one.position.part().into()).collect();
            let untils: Vec<i64> = some.iter().map(|one| one.until).collect();
            let values: [&(dyn ToSql + Sync); 4] = [&keys, &seqs, &parts, &untils];
            self.moving.call(ADD_KEYS, &values).await?;
        }
        Ok(entries.len() as u64)
    }

    /// Divides the keys. An event that is the value of a state has two: its own, and that of the state. Which is which is
    /// not known, so both are looked up as either; one is never the other.
    pub(in crate::journal) async fn finish_keys(&mut self, count: u64) -> Result<(), MoveError> {
        // Makes the partitions while they are empty.
        self.moving.call("SELECT make_claims_1(NULL)", &[]).await?;
        self.moving
            .run("BEGIN; CREATE INDEX ON moved_key (seq, part); ANALYZE moved_key")
            .await?;
        let claims = number(&self.moving.call(ADD_CLAIMS, &[]).await?[0], 0);
        let paired = number(&self.moving.call(PAIRED, &[]).await?[0], 0);
        if claims + paired != count {
            return Err(MoveError::Differs {
                what: "dedup keys",
                old: count,
                new: claims + paired,
            });
        }
        self.moving.call(ADD_STATES, &[]).await?;
        self.moving.call(HAS_KEYS, &[&signed(count)]).await?;
        self.moving.run("DROP TABLE moved_key; COMMIT").await?;
        self.has_keys = true;
        Ok(())
    }

    /// Begins the transaction with everything else.
    pub(in crate::journal) async fn begin_rest(&self) -> Result<(), MoveError> {
        self.moving.run("BEGIN").await
    }

    pub(in crate::journal) async fn add_documents(
        &self,
        documents: &[Document],
        newest: Version,
    ) -> Result<(), MoveError> {
        for Document {
            key,
            value,
            version,
        } in documents
        {
            let values: [&(dyn ToSql + Sync); 3] = [&key.as_bytes(), &value, &signed(*version)];
            self.moving.call(ADD_DOCUMENT, &values).await?;
        }
        let set = "UPDATE meta SET documents = $1";
        self.moving.call(set, &[&signed(newest)]).await.map(drop)
    }

    pub(in crate::journal) async fn add_deletions(
        &self,
        deletions: &[Deletion],
        newest: u64,
    ) -> Result<(), MoveError> {
        let seqs: Vec<i64> = deletions.iter().map(|one| signed(one.seq)).collect();
        let numbers: Vec<i64> = deletions.iter().map(|one| signed(one.number)).collect();
        self.moving.call(ADD_DELETIONS, &[&seqs, &numbers]).await?;
        let set = "UPDATE meta SET deletions = $1";
        self.moving.call(set, &[&signed(newest)]).await.map(drop)
    }

    pub(in crate::journal) async fn add_letters(
        &self,
        letters: &[NamedLetter],
    ) -> Result<(), MoveError> {
        let of = |of: fn(&NamedLetter) -> i64| -> Vec<i64> { letters.iter().map(of).collect() };
        let seqs = of(|(_, letter)| signed(letter.position.seq()));
        let attempts = of(|(_, letter)| letter.attempts.into());
        let ats = of(|(_, letter)| letter.at.as_millisecond());
        let parts = letters
            .iter()
            .map(|(_, letter)| i32::from(letter.position.part()));
        let parts: Vec<i32> = parts.collect();
        let names: Vec<&[u8]> = letters.iter().map(|(name, _)| name.as_bytes()).collect();
        let reasons = letters.iter().map(|(_, letter)| letter.reason.as_bytes());
        let reasons: Vec<&[u8]> = reasons.collect();
        let values: [&(dyn ToSql + Sync); 6] = [&seqs, &parts, &names, &attempts, &reasons, &ats];
        self.moving.call(ADD_LETTERS, &values).await.map(drop)
    }

    /// Adds the progress of a consumer: one for each share.
    pub(in crate::journal) async fn add_progress(
        &self,
        consumer: &str,
        divided: &[SavedProgress],
    ) -> Result<(), MoveError> {
        for (share, saved) in (0_i32..).zip(divided) {
            let name = consumer.as_bytes();
            let values: [&(dyn ToSql + Sync); 3] = [&name, &share, &saved.head];
            self.moving.call(ADD_HEAD, &values).await?;
            for rows in saved.rows.chunks(ROWS_AT_ONCE) {
                let keys: Vec<&[u8]> = rows.iter().map(|(key, _)| &**key).collect();
                let contents: Vec<&[u8]> = rows.iter().map(|(_, value)| &**value).collect();
                let values: [&(dyn ToSql + Sync); 4] = [&name, &share, &keys, &contents];
                self.moving.call(ADD_ROWS, &values).await?;
            }
        }
        Ok(())
    }

    pub(in crate::journal) async fn counts(
        &self,
        shapes: &dyn Reshape,
    ) -> Result<MovedCounts, MoveError> {
        // Before its end the log begins with its first block, which is cut already.
        counts(&self.moving, shapes).await
    }

    /// Gives the schema its name. Returns how many dedup keys it has.
    pub(in crate::journal) async fn finish(&self, first: Seq) -> Result<u64, MoveError> {
        let set = "UPDATE meta SET first_seq = $1";
        self.moving.call(set, &[&signed(first)]).await?;
        let keys = number(
            &self.moving.call("SELECT keys FROM moved", &[]).await?[0],
            0,
        );
        let (from, to) = (&self.options.schema, &self.schema);
        // One that an administrator has made is empty, or this fails.
        let place = format!(
            "DROP TABLE moved; DROP SCHEMA IF EXISTS {to}; ALTER SCHEMA {from} RENAME TO {to}; COMMIT"
        );
        self.moving.run(&place).await?;
        let analyze = format!("SET search_path TO {to}; ANALYZE");
        if let Err(error) = self.moving.run(&analyze).await {
            log::info!("{error}");
        }
        self.moving.0.end();
        Ok(keys)
    }
}

const LOCK: &str = "SELECT pg_try_advisory_lock(hashtext(current_setting('search_path')), 5)";
const IS_OURS: &str = "SELECT to_regclass('moved') IS NOT NULL";
const CREATE: &str = "CREATE TABLE moved (origin text NOT NULL, has_keys bool NOT NULL, keys bigint NOT NULL); \
    CREATE TABLE moved_key (key uuid NOT NULL, seq bigint NOT NULL, part int NOT NULL, until bigint NOT NULL)";
const BEGIN: &str = "INSERT INTO moved VALUES ($1, false, 0)";
const FROM: &str = "SELECT EXISTS (SELECT FROM moved WHERE origin = $1)";
const STATE: &str = "SELECT coalesce(b.last, 0), coalesce(b.total, 0), m.has_keys FROM moved m \
    LEFT JOIN (SELECT last, total FROM block ORDER BY last DESC LIMIT 1) b ON true";
const ADD_BLOCKS: &str = "INSERT INTO block (last, first, kept_at, batch, total, format, sums, bodies) \
    SELECT b.last, b.first, b.kept_at, $4, b.total, b.format, b.sums, b.bodies FROM unnest($1::bigint[], $2::bigint[], \
    $3::bigint[], $5::bigint[], $6::smallint[], $7::bytea[], $8::bytea[]) \
    AS b (last, first, kept_at, total, format, sums, bodies)";
const ADD_KEYS: &str = "INSERT INTO moved_key (key, seq, part, until) \
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::bigint[])";
const ADD_CLAIMS: &str = "WITH added AS (INSERT INTO claim (key, seq, part, until, bucket) \
    SELECT a.key, a.seq, a.part, a.until, a.until / m.claim_span * m.claim_span \
    FROM moved_key a, meta m WHERE NOT EXISTS \
    (SELECT FROM moved_key b WHERE b.seq = a.seq AND b.part = a.part AND b.key <> a.key) RETURNING 1) \
    SELECT count(*) FROM added";
const PAIRED: &str = "SELECT count(*) FROM moved_key a WHERE EXISTS \
    (SELECT FROM moved_key b WHERE b.seq = a.seq AND b.part = a.part AND b.key <> a.key)";
const ADD_STATES: &str = "INSERT INTO state (key, hash, seq, part, until) \
    SELECT DISTINCT ON (a.key) a.key, b.key, a.seq, a.part, a.until FROM moved_key a \
    JOIN moved_key b ON b.seq = a.seq AND b.part = a.part AND b.key <> a.key ORDER BY a.key, a.seq DESC, a.part DESC";
const HAS_KEYS: &str = "UPDATE moved SET has_keys = true, keys = $1";
const ADD_DOCUMENT: &str = "INSERT INTO document (key, value, version) VALUES ($1, $2, $3)";
const ADD_DELETIONS: &str = "INSERT INTO deletion (seq, number, at) \
    SELECT d.seq, d.number, now_1(NULL) FROM unnest($1::bigint[], $2::bigint[]) AS d (seq, number)";
const ADD_LETTERS: &str = "INSERT INTO dead (seq, part, consumer, attempts, reason, at) \
    SELECT d.seq, d.part, d.consumer, d.attempts, d.reason, d.at FROM unnest($1::bigint[], $2::int[], $3::bytea[], \
    $4::bigint[], $5::bytea[], $6::bigint[]) AS d (seq, part, consumer, attempts, reason, at)";
const ADD_HEAD: &str = "INSERT INTO progress (consumer, share, head) VALUES ($1, $2, $3)";
const ADD_ROWS: &str = "INSERT INTO progress_row (consumer, share, key, value) \
    SELECT $1, $2, r.key, r.value FROM unnest($3::bytea[], $4::bytea[]) AS r (key, value)";

const KEYS_AT_ONCE: usize = 10_000;
const ROWS_AT_ONCE: usize = 1000;
