//! [`SqliteSource`]: reads all of a journal that nothing else has open.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use super::super::folder::{FILE, KEYS};
use super::super::journal::Sqlite;
use super::super::{dead, delete, reading, rekey, rows};
use crate::clock::Clock;
use crate::journal::block::Block;
use crate::journal::dedup::{DedupEntry, entries_of_segment, newest_segment, segments_up_to};
use crate::journal::moving::{MoveError, MovedCounts, Reshape, failed};
use crate::journal::{
    Deletion, Document, Log as _, NamedLetter, Position, SavedProgress, Seq, Share, Version,
};
use crate::telemetry::Metrics;

/// A journal that is read as a whole. No server can open it meanwhile.
pub(in crate::journal) struct SqliteSource {
    /// Has the locks, and has read what the last process has left.
    journal: Sqlite,
    database: Connection,
    folder: PathBuf,
    /// The oldest body that retention has not removed, and the newest one; 0 if there was none.
    pub(in crate::journal) first: Seq,
    pub(in crate::journal) head: Seq,
    /// Dedup keys whose windows have ended by then are left out.
    now: i64,
}

/// Bodies for another engine: the block numbers them from 1.
pub(in crate::journal) struct MovedBlock {
    pub(in crate::journal) first: Seq,
    pub(in crate::journal) last: Seq,
    pub(in crate::journal) kept_at: i64,
    pub(in crate::journal) block: Block,
}

/// Dedup entries, some at a time.
pub(in crate::journal) struct Entries<'a> {
    source: &'a SqliteSource,
    segments: std::vec::IntoIter<PathBuf>,
    /// The entries of bodies up to here are in segments, or were taken.
    at: Seq,
}

impl SqliteSource {
    /// Opens the journal in a folder as a server does.
    pub(in crate::journal) fn open(
        folder: &Path,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, MoveError> {
        let refused = |error: &dyn std::fmt::Display| {
            let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
            MoveError::Refused(format!("{}: {error}", folder.display()))
        };
        let path = folder.join(FILE);
        if !std::fs::metadata(&path).is_ok_and(|file| file.len() > 0) {
            return Err(refused(
                &"there is no journal here; journal.path of the settings of --from says where it is",
            ));
        }
        let journal = Sqlite::open_with(folder, Metrics::new().journal(), Arc::clone(clock), None);
        let journal = journal.map_err(|error| refused(&error))?;
        let database = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let database = database.map_err(|error| refused(&error))?;
        let read = || {
            let keys = rows::counter(&database, rows::DEDUP_KEYS)?.unwrap_or(0);
            Ok((
                reading::head(&database)?,
                reading::trimmed(&database)?,
                keys,
            ))
        };
        let read: rusqlite::Result<_> = read();
        let (head, trimmed, keys) = read.map_err(|error| refused(&error))?;
        if head > 0 && keys < rekey::KEYS_VERSION {
            return Err(refused(
                &"an older version of offhook has made its dedup keys; start this version on it once, stop it, and then \
                  move it",
            ));
        }
        Ok(Self {
            journal,
            database,
            folder: folder.to_owned(),
            first: trimmed + 1,
            head,
            now: clock.now().as_millisecond(),
        })
    }

    /// What the log is; it is another one after every append, trim and deletion.
    pub(in crate::journal) fn identity(&self) -> String {
        let path = self.folder.canonicalize();
        let path = path.unwrap_or_else(|_| self.folder.clone());
        let (_, kept_at) = reading::newest(&self.database).unwrap_or_default();
        let deletions = delete::newest(&self.database).unwrap_or_default();
        format!(
            "sqlite {} from {} to {} ({kept_at}), deletions {deletions}",
            path.display(),
            self.first,
            self.head
        )
    }

    /// The next bodies after `after`, in order and without gaps: those that cannot be read are damaged.
    pub(in crate::journal) fn blocks(&self, after: Seq) -> rusqlite::Result<Vec<MovedBlock>> {
        let mut taken = Taken {
            blocks: Vec::new(),
            at: after,
            bytes: 0,
        };
        reading::walk(
            &self.database,
            reading::RECORDS,
            after,
            self.head,
            |block| {
                taken.pass_gap(block.first, block.kept_at);
                if !taken.is_full() {
                    taken.take(block);
                }
                Ok(!taken.is_full())
            },
        )?;
        let (_, kept_at) = reading::newest(&self.database)?;
        taken.pass_gap(self.head + 1, kept_at);
        Ok(taken.blocks)
    }

    /// All dedup entries whose windows have not ended.
    pub(in crate::journal) fn entries(&self) -> std::io::Result<Entries<'_>> {
        let folder = self.folder.join(KEYS);
        let mut segments = segments_up_to(&folder, self.head)?;
        segments.sort();
        Ok(Entries {
            source: self,
            segments: segments.into_iter(),
            at: newest_segment(&folder).unwrap_or(0),
        })
    }

    pub(in crate::journal) fn documents(&self) -> rusqlite::Result<Vec<Document>> {
        rows::documents(&self.database, "")
    }

    pub(in crate::journal) fn newest_document(&self) -> rusqlite::Result<Version> {
        rows::newest_document(&self.database)
    }

    pub(in crate::journal) fn deletions(&self) -> rusqlite::Result<Vec<Deletion>> {
        delete::after(&self.database, 0, usize::MAX)
    }

    pub(in crate::journal) fn newest_deletion(&self) -> rusqlite::Result<u64> {
        delete::newest(&self.database)
    }

    /// The next dead letters in descending order.
    pub(in crate::journal) fn letters(
        &self,
        before: Option<(Position, String)>,
    ) -> rusqlite::Result<Vec<NamedLetter>> {
        dead::list(&self.database, None, before, LETTERS)
    }

    pub(in crate::journal) fn consumers(&self) -> rusqlite::Result<Vec<String>> {
        let sql = "SELECT name FROM consumers ORDER BY name";
        let mut statement = self.database.prepare(sql)?;
        statement.query_map([], |row| row.get(0))?.collect()
    }

    pub(in crate::journal) fn saved(&self, consumer: &str) -> rusqlite::Result<SavedProgress> {
        let found = rows::saved(&self.database, consumer)?;
        Ok(found.saved.unwrap_or_default())
    }

    /// The shares of these events, as far as they are in the log, in a journal with `shares` shares.
    pub(in crate::journal) fn shares_of(
        &self,
        positions: Vec<Position>,
        shares: Share,
    ) -> rusqlite::Result<HashMap<Position, Share>> {
        let mut wanted: BTreeSet<Position> = positions.into_iter().collect();
        let mut found = HashMap::new();
        while let Some(next) = wanted.first().copied() {
            let mut end = next.seq();
            let after = next.seq() - 1;
            reading::walk(
                &self.database,
                reading::RECORDS,
                after,
                self.head,
                |block| {
                    end = block.last;
                    for record in block.records(after, shares) {
                        let views = record.parts.views(&record.received);
                        let own =
                            views.map(|view| (Position::new(record.seq, view.part), view.share));
                        found.extend(own.filter(|(position, _)| wanted.contains(position)));
                    }
                    Ok(false)
                },
            )?;
            wanted = wanted.split_off(&Position::first(end + 1));
        }
        Ok(found)
    }

    pub(in crate::journal) fn counts(&self, shapes: &dyn Reshape) -> rusqlite::Result<MovedCounts> {
        let consumers = self.consumers()?;
        let (mut paused, mut dead_letters, mut before) = (0, 0, None);
        for consumer in &consumers {
            paused += u64::from(shapes.is_paused(&self.saved(consumer)?));
        }
        loop {
            let letters = self.letters(before)?;
            let Some((consumer, last)) = letters.last() else {
                break;
            };
            before = Some((last.position, consumer.clone()));
            dead_letters += letters.len() as u64;
        }
        Ok(MovedCounts {
            events: (self.head + 1).saturating_sub(self.first),
            deletions: self.deletions()?.len() as u64,
            consumers: consumers.len() as u64,
            paused,
            dead_letters,
            documents: self.documents()?.len() as u64,
        })
    }

    /// Lets others open it.
    pub(in crate::journal) async fn close(self) {
        drop(self.database);
        self.journal.close().await;
    }
}

/// Bodies that were taken.
struct Taken {
    blocks: Vec<MovedBlock>,
    /// All up to this one.
    at: Seq,
    bytes: usize,
}

impl Taken {
    fn is_full(&self) -> bool {
        self.blocks.len() >= MOST_BLOCKS || self.bytes >= MOST_BYTES
    }

    fn take(&mut self, block: &Block<&[u8]>) {
        let first = block.first.max(self.at + 1);
        if let Some(moved) = block.moved(self.at, 1, 0) {
            self.push(first..block.last + 1, block.kept_at, moved);
        }
    }

    /// Takes the numbers before `next`, of which nothing can be read.
    fn pass_gap(&mut self, next: Seq, kept_at: i64) {
        while self.at + 1 < next && !self.is_full() {
            let end = next.min(self.at + 1 + crate::journal::block::MAX_BODIES as u64);
            let mut lost = Block::default();
            for seq in 1..=end - self.at - 1 {
                lost.push_lost(seq);
            }
            lost.finish();
            self.push(self.at + 1..end, kept_at, lost);
        }
    }

    fn push(&mut self, numbers: Range<Seq>, kept_at: i64, block: Block) {
        self.bytes += block.bytes();
        self.at = numbers.end - 1;
        self.blocks.push(MovedBlock {
            first: numbers.start,
            last: self.at,
            kept_at,
            block,
        });
    }
}

impl Entries<'_> {
    /// The next ones; `None` at the end.
    pub(in crate::journal) fn next(&mut self) -> Result<Option<Vec<DedupEntry>>, MoveError> {
        let source = self.source;
        loop {
            let mut some = match self.segments.next() {
                Some(path) => entries_of_segment(&path).map_err(failed)?,
                None if self.at >= source.head => return Ok(None),
                None => self.of_blocks().map_err(failed)?,
            };
            some.retain(|entry| entry.until > source.now);
            if !some.is_empty() {
                return Ok(Some(some));
            }
        }
    }

    fn of_blocks(&mut self) -> rusqlite::Result<Vec<DedupEntry>> {
        let (source, after) = (self.source, self.at);
        let (mut some, mut is_full) = (Vec::new(), false);
        reading::walk(
            &source.database,
            reading::ENTRIES,
            after,
            source.head,
            |block| {
                let own = block.entries().unwrap_or_default().into_iter();
                some.extend(own.filter(|entry| entry.position.seq() > after));
                self.at = block.last;
                is_full = some.len() >= ENTRIES;
                Ok(!is_full)
            },
        )?;
        if !is_full {
            self.at = source.head;
        }
        Ok(some)
    }
}

/// What is taken together, at most.
const MOST_BLOCKS: usize = 256;
const MOST_BYTES: usize = 8 * 1024 * 1024;
const LETTERS: usize = 1000;
const ENTRIES: usize = 50_000;
