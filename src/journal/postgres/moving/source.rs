//! [`PostgresSource`]: reads all of a journal that no instance uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_postgres::Row;
use uuid::Uuid;

use super::super::facts::Verdict;
use super::super::letters::letter;
use super::super::options::{FORMAT, PostgresOptions};
use super::super::schema::{is_there, of_format};
use super::super::sql::{number, signed};
use super::Moving;
use crate::clock::Clock;
use crate::journal::block::{Block, Format};
use crate::journal::dedup_entry::DedupEntry;
use crate::journal::moving::{MoveError, MovedCounts, Reshape, failed};
use crate::journal::{
    Deletion, Document, NamedLetter, Position, Record, SavedProgress, Seq, Share, Version,
};

/// A journal that is read as a whole. No instance can start on it meanwhile.
pub(in crate::journal) struct PostgresSource {
    moving: Moving,
    log_id: Uuid,
    shares: Share,
    pub(in crate::journal) first: Seq,
    pub(in crate::journal) head: Seq,
    /// The newest change of a document, and the newest deletion.
    pub(in crate::journal) documents: Version,
    pub(in crate::journal) deletions: u64,
}

impl PostgresSource {
    /// Locks the journal of a schema.
    pub(in crate::journal) async fn open(
        options: &PostgresOptions,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, MoveError> {
        let refused = |why: String| MoveError::Refused(format!("{}: {why}", options.hosts()));
        let schema = &options.schema;
        let (_, moving) = Moving::connect(options, clock).await?;
        let found = is_there(&moving.0, schema).await;
        if !found.map_err(|error| refused(error.to_string()))? {
            let why = format!(
                "the schema {schema} holds no journal; journal.schema of the settings of --from says where it is"
            );
            return Err(refused(why));
        }
        // An instance that starts adds a row, and one that runs changes its own.
        let locked = moving.run("BEGIN; LOCK TABLE instance IN SHARE MODE").await;
        locked.map_err(|error| refused(error.to_string()))?;
        let names = moving.call(INSTANCES, &[]).await?;
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(|row| row.get(0)).collect();
            let why = format!(
                "instances use this journal ({}): stop them first; one that was killed counts as running until another \
                 one has run for two leases and was stopped",
                names.join(", ")
            );
            return Err(refused(why));
        }
        let rows = moving.call(META, &[]).await?;
        let row = rows
            .first()
            .ok_or_else(|| refused("the table meta is empty".to_owned()))?;
        let format = of_format(row.get(0), row.get(1), FORMAT);
        if format.verdict == Verdict::Unfit {
            return Err(refused(format.told));
        }
        let commands = number(row, 8);
        if commands > 0 {
            let why = format!(
                "{commands} requests of administrators (a pause, a replay) wait to be carried out: start an instance once \
                 more, and stop it when they are"
            );
            return Err(refused(why));
        }
        Ok(Self {
            log_id: row.get(2),
            shares: row.get::<_, i32>(3) as Share,
            first: number(row, 4),
            head: number(row, 5),
            documents: number(row, 6),
            deletions: number(row, 7),
            moving,
        })
    }

    /// What the log is; it is another one after every append, trim and deletion.
    pub(in crate::journal) fn identity(&self) -> String {
        format!(
            "postgres {} from {} to {}, deletions {}",
            self.log_id, self.first, self.head, self.deletions
        )
    }

    /// The next blocks with bodies after `after`.
    pub(in crate::journal) async fn blocks(&self, after: Seq) -> Result<Vec<Block>, MoveError> {
        let rows = self.moving.call(BLOCKS, &[&signed(after)]).await?;
        let blocks = rows.iter().map(|row| {
            let (first, block) = stored(row)?;
            let last = first + block.last - 1;
            let oldest = first.max(after + 1);
            let moved = block.moved(oldest - first, oldest, row.get(2));
            Ok(moved.unwrap_or_else(|| lost(oldest, last, row.get(2))))
        });
        blocks.collect()
    }

    /// The next records after `after`.
    pub(in crate::journal) async fn records(&self, after: Seq) -> Result<Vec<Record>, MoveError> {
        let rows = self.moving.call(BLOCKS, &[&signed(after)]).await?;
        let mut records = Vec::new();
        for row in &rows {
            let (first, block) = stored(row)?;
            let skipped = (after + 1).saturating_sub(first);
            let own = block.records(skipped, self.shares);
            records.extend(own.map(|record| Record {
                seq: record.seq + first - 1,
                ..record
            }));
        }
        Ok(records)
    }

    /// Begins to read the dedup entries whose windows have not ended. Returns how many there are, and how many different
    /// keys they have.
    pub(in crate::journal) async fn begin_keys(&self) -> Result<(u64, u64), MoveError> {
        let begin = format!(
            "DECLARE moved_keys NO SCROLL CURSOR FOR SELECT * FROM ({KEYS}) k ORDER BY seq, part"
        );
        self.moving.run(&begin).await?;
        let rows = self.moving.call(KEYS_COUNT, &[]).await?;
        Ok((number(&rows[0], 0), number(&rows[0], 1)))
    }

    /// The next dedup entries, in the order of their bodies.
    pub(in crate::journal) async fn keys(&self) -> Result<Vec<DedupEntry>, MoveError> {
        let rows = self.moving.call("FETCH 50000 FROM moved_keys", &[]).await?;
        let entry = |row: &Row| DedupEntry {
            hash: row.get::<_, Uuid>(0).as_u128(),
            position: Position::new(number(row, 1), row.get::<_, i32>(2) as u16),
            until: row.get(3),
        };
        Ok(rows.iter().map(entry).collect())
    }

    pub(in crate::journal) async fn all_documents(&self) -> Result<Vec<Document>, MoveError> {
        let rows = self.moving.call(DOCUMENTS, &[]).await?;
        let document = |row: &Row| {
            Ok(Document {
                key: text(row, 0)?,
                value: row.get(1),
                version: number(row, 2),
            })
        };
        rows.iter().map(document).collect()
    }

    pub(in crate::journal) async fn all_deletions(&self) -> Result<Vec<Deletion>, MoveError> {
        let rows = self.moving.call(DELETIONS, &[]).await?;
        let deletion = |row: &Row| Deletion {
            number: number(row, 0),
            seq: number(row, 1),
        };
        Ok(rows.iter().map(deletion).collect())
    }

    pub(in crate::journal) async fn begin_letters(&self) -> Result<(), MoveError> {
        self.moving.run(BEGIN_LETTERS).await
    }

    pub(in crate::journal) async fn letters(&self) -> Result<Vec<NamedLetter>, MoveError> {
        let rows = self
            .moving
            .call("FETCH 5000 FROM moved_letters", &[])
            .await?;
        rows.iter().map(|row| letter(row).map_err(failed)).collect()
    }

    pub(in crate::journal) async fn consumers(&self) -> Result<Vec<String>, MoveError> {
        let rows = self.moving.call(CONSUMERS, &[]).await?;
        rows.iter().map(|row| text(row, 0)).collect()
    }

    /// The progress of a consumer in each share.
    pub(in crate::journal) async fn saved(
        &self,
        consumer: &str,
    ) -> Result<BTreeMap<Share, SavedProgress>, MoveError> {
        let rows = self.moving.call(SAVED, &[&consumer.as_bytes()]).await?;
        let mut shares: BTreeMap<Share, SavedProgress> = BTreeMap::new();
        for row in &rows {
            let saved = shares.entry(row.get::<_, i32>(0) as Share).or_default();
            saved.head = row.get(1);
            if let (Some(key), Some(value)) = (row.get(2), row.get(3)) {
                saved.rows.push((key, value));
            }
        }
        Ok(shares)
    }

    pub(in crate::journal) async fn counts(
        &self,
        shapes: &dyn Reshape,
    ) -> Result<MovedCounts, MoveError> {
        counts(&self.moving, shapes).await
    }

    /// Lets instances start again.
    pub(in crate::journal) async fn close(self) {
        // The connection ends, and its lock with it.
        let _ = self.moving.run("ROLLBACK").await;
        self.moving.0.end();
    }
}

/// What is in a journal.
pub(super) async fn counts(
    moving: &Moving,
    shapes: &dyn Reshape,
) -> Result<MovedCounts, MoveError> {
    let rows = moving.call(COUNTS, &[]).await?;
    let row = &rows[0];
    let heads = moving.call(HEADS, &[]).await?;
    let mut paused: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
    for head in &heads {
        let saved = SavedProgress {
            head: head.get(1),
            rows: Vec::new(),
        };
        *paused.entry(head.get(0)).or_default() |= shapes.is_paused(&saved);
    }
    Ok(MovedCounts {
        events: number(row, 0),
        deletions: number(row, 1),
        consumers: paused.len() as u64,
        paused: paused.values().filter(|is_paused| **is_paused).count() as u64,
        dead_letters: number(row, 2),
        documents: number(row, 3),
    })
}

/// A stored block, which numbers its bodies from 1, and the number of the first.
fn stored(row: &Row) -> Result<(Seq, Block<&[u8]>), MoveError> {
    let (first, last): (Seq, Seq) = (number(row, 0), number(row, 1));
    let format = Format::of(row.get::<_, i16>(3).into());
    let format = format.ok_or_else(|| {
        failed(format!(
            "a newer version of offhook has written block {last}; use that version"
        ))
    })?;
    let block = Block {
        first: 1,
        last: (last + 1).saturating_sub(first),
        kept_at: 0,
        format,
        keys: &[][..],
        sums: row.get(4),
        bodies: row.get(5),
    };
    Ok((first, block))
}

/// A block of which nothing can be read.
fn lost(first: Seq, last: Seq, kept_at: i64) -> Block {
    let mut block = Block {
        kept_at,
        ..Block::default()
    };
    for seq in first..=last {
        block.push_lost(seq);
    }
    block.finish();
    block
}

fn text(row: &Row, column: usize) -> Result<String, MoveError> {
    let text = String::from_utf8(row.get(column));
    text.map_err(|_| failed("a name in the database is not what was written"))
}

const INSTANCES: &str = "SELECT name FROM instance ORDER BY name";
const META: &str = "SELECT format, oldest_reader, log_id, shares, first_seq, \
    coalesce((SELECT last FROM block ORDER BY last DESC LIMIT 1), 0), documents, deletions, \
    (SELECT count(*) FROM command) FROM meta";
const BLOCKS: &str = "SELECT first, last, kept_at, format, sums, bodies FROM \
    (SELECT b.*, sum(octet_length(bodies)) OVER (ORDER BY last) - octet_length(bodies) AS before FROM \
    (SELECT * FROM block WHERE last > $1 ORDER BY last LIMIT 64) b) c WHERE before < 8388608 ORDER BY last";
/// That of a state, and that of its newest event.
const KEYS: &str = "SELECT key, seq, part, until FROM claim WHERE until > now_1(NULL) \
    UNION ALL SELECT hash, seq, part, until FROM state WHERE until > now_1(NULL) \
    UNION ALL SELECT key, seq, part, until FROM state WHERE until > now_1(NULL)";
const KEYS_COUNT: &str = "SELECT count(*), count(DISTINCT key) FROM ( \
    SELECT key FROM claim WHERE until > now_1(NULL) \
    UNION ALL SELECT hash FROM state WHERE until > now_1(NULL) \
    UNION ALL SELECT key FROM state WHERE until > now_1(NULL)) k";
const DOCUMENTS: &str = "SELECT key, value, version FROM document ORDER BY key";
const DELETIONS: &str = "SELECT number, seq FROM deletion ORDER BY number";
const BEGIN_LETTERS: &str = "DECLARE moved_letters NO SCROLL CURSOR FOR \
    SELECT consumer, seq, part, attempts, reason, at FROM dead ORDER BY seq, part, consumer";
const CONSUMERS: &str = "SELECT DISTINCT consumer FROM progress ORDER BY consumer";
const SAVED: &str = "SELECT p.share, p.head, r.key, r.value FROM progress p \
    LEFT JOIN progress_row r ON r.consumer = p.consumer AND r.share = p.share WHERE p.consumer = $1 \
    ORDER BY p.share, r.key";
const COUNTS: &str = "SELECT \
    (SELECT coalesce(sum(b.last - greatest(b.first, m.first_seq) + 1), 0)::bigint FROM block b, meta m \
        WHERE b.last >= m.first_seq), \
    (SELECT count(*) FROM deletion), (SELECT count(*) FROM dead), (SELECT count(*) FROM document)";
const HEADS: &str = "SELECT consumer, head FROM progress";
