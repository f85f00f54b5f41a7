//! [`OpenDatabase`]: the open database, and [`Step`]: the transaction that is being written.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Error, OpenFlags, Transaction};

use super::folder::OpenError;
use super::{schema, store};
use crate::Timestamp;
use crate::clock::Clock;
use crate::journal::block::Block;
use crate::journal::dedup::{DedupEntry, DedupTuning, DedupWindow};
use crate::journal::{
    Appended, Entry, Expected, KeptPart, Part, Parts, Position, ProgressChange, PutError, Record,
    Seq, Unavailable, Version,
};

pub(super) struct OpenDatabase {
    pub(super) database: Connection,
    pub(super) known: Known,
}

/// What the thread knows of the database.
pub(super) struct Known {
    dedup: DedupWindow,
    /// The number of the newest body.
    pub(super) head: Seq,
    /// When it became durable, in milliseconds since 1970.
    kept_at: i64,
    /// The newest change of a document.
    pub(super) documents: Version,
    /// Collects the bodies of a commit.
    block: Block,
    /// Estimates the bytes written to the WAL since its last checkpoint.
    wal: usize,
}

/// Why a transaction failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommitError {
    /// Nothing was stored.
    #[error(transparent)]
    Write(#[from] Error),
    /// The commit failed, for example in its fsync: what was written may be found after a restart.
    #[error("{0}")]
    Commit(Error),
}

impl OpenDatabase {
    /// Opens the journal again after a failure. `known` is its newest body. A missing file is not
    /// created and an older one is refused: both would lack what was acknowledged.
    pub(super) fn again(path: &Path, keys: &Path, now: i64, known: Seq) -> Result<Self, OpenError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = store::open_writer(path, flags)?;
        let found = match schema::check(&database)? {
            0 => 0,
            _ => store::newest(&database)?.0,
        };
        if found < known {
            return Err(OpenError::Replaced { found, known });
        }
        Self::start(database, keys, now)
    }

    pub(super) fn start(
        mut database: Connection,
        keys_folder: &Path,
        now: i64,
    ) -> Result<Self, OpenError> {
        // Writes nothing to a database of another program.
        let version = schema::check(&database)?;
        store::set_up_writer(&database)?;
        schema::migrate(&mut database, version)?;
        // Read before the checkpoint writes, so that a database with visible damage is left
        // unchanged.
        let (head, kept_at) = store::newest(&database)?;
        // After a failed fsync it is unknown which part of the WAL is on the disk.
        store::checkpoint(&database)?;
        store::set_up_closing(&database)?;
        let io = |error| OpenError::io(keys_folder, error);
        let mut dedup =
            DedupWindow::open(keys_folder, head, now, DedupTuning::default()).map_err(io)?;
        let sealed = dedup.sealed_up_to();
        store::entries_after(&database, sealed, |entry| {
            if entry.until > now {
                dedup.add(entry);
                // Seals as it goes, so that few entries are in memory at the same time.
                dedup.tidy(now).map_err(unreadable)?;
            }
            Ok(())
        })?;
        let known = Known {
            dedup,
            head,
            kept_at,
            documents: store::newest_document(&database)?,
            block: Block::default(),
            wal: 0,
        };
        Ok(Self { database, known })
    }

    /// Makes durable what `write` writes, in one transaction. `epoch` is the newest desk's. Returns
    /// the new bodies, for consumers that keep up, and how long the commit itself took.
    pub(super) fn commit(
        &mut self,
        write: impl FnOnce(&mut Step<'_>) -> Result<(), Error>,
        now: i64,
        epoch: u64,
        clock: &dyn Clock,
    ) -> Result<(Vec<Record>, Duration), CommitError> {
        let known = &self.known;
        let before = (known.head, known.kept_at, known.documents);
        let committed = self.try_commit(write, now, epoch, clock);
        let known = &mut self.known;
        known.block.clear();
        if committed.is_err() {
            (known.head, known.kept_at, known.documents) = before;
            known.dedup.take_back_after(known.head);
        }
        committed
    }

    fn try_commit(
        &mut self,
        write: impl FnOnce(&mut Step<'_>) -> Result<(), Error>,
        now: i64,
        epoch: u64,
        clock: &dyn Clock,
    ) -> Result<(Vec<Record>, Duration), CommitError> {
        let known = &mut self.known;
        // Times never go back, even if the clock is set back, because retention depends on them.
        known.kept_at = known.kept_at.max(now);
        known.block.kept_at = known.kept_at;
        let mut step = Step {
            // Rolled back if it is dropped without a commit.
            transaction: self.database.transaction()?,
            kept_at: Timestamp::from_millisecond(known.kept_at).unwrap_or_default(),
            known,
            records: Vec::new(),
            now,
            epoch,
            bytes: 0,
        };
        write(&mut step)?;
        step.flush()?;
        let (records, started) = (step.records, clock.monotonic());
        step.transaction.commit().map_err(CommitError::Commit)?;
        let took = clock.monotonic().saturating_duration_since(started);
        Ok((records, took))
    }

    /// Does the work that no caller waits for, after all are answered.
    pub(super) fn tidy(&mut self, now: i64) {
        if let Err(error) = self.known.dedup.tidy(now) {
            log::warn!("journal: dedup entries cannot be sealed, they stay in memory: {error}");
        }
        if self.known.wal >= CHECKPOINT_BYTES {
            self.bring_in();
        }
    }

    /// Copies the WAL into the database. A failure loses nothing: the WAL grows until a checkpoint
    /// succeeds or the disk is full, when commits fail.
    fn bring_in(&mut self) {
        self.known.wal = 0;
        match store::bring_in(&self.database) {
            Ok(0) => {}
            Ok(left) => {
                log::debug!("journal: {left} pages of the WAL are being read and stay in it");
            }
            Err(error) => log::error!(
                "journal: the WAL cannot be brought into the database, and grows until it can: {error}"
            ),
        }
    }
}

/// A transaction that is being written.
pub(super) struct Step<'a> {
    transaction: Transaction<'a>,
    pub(super) known: &'a mut Known,
    records: Vec<Record>,
    kept_at: Timestamp,
    now: i64,
    epoch: u64,
    /// Estimates how many bytes the operation writes that is being written.
    pub(super) bytes: usize,
}

impl<'a> Step<'a> {
    pub(super) fn append(&mut self, entry: &Entry) -> Result<Appended, Error> {
        let (known, now) = (&mut *self.known, self.now);
        let mut duplicates = Vec::new();
        for (part, own) in (1..).zip(&entry.parts) {
            let original = known.dedup.original(own.key, now).map_err(unreadable)?;
            duplicates.extend(original.map(|original| (part, original)));
        }
        if !entry.parts.is_empty() && duplicates.len() == entry.parts.len() {
            let originals = duplicates.into_iter().map(|(_, original)| original);
            return Ok(Appended::Duplicate(originals.collect()));
        }
        if known.block.is_full() {
            self.flush()?;
        }
        let known = &mut *self.known;
        known.head += 1;
        let seq = known.head;
        let is_duplicate = |part| duplicates.iter().any(|(other, _)| *other == part);
        let new = (1..).zip(&entry.parts);
        let new = new.filter(|(part, _)| !is_duplicate(*part));
        let entries =
            new.map(|(part, own)| DedupEntry::new(own.key, Position::new(seq, part), now));
        let entries: Vec<DedupEntry> = entries.collect();
        entries.iter().for_each(|entry| known.dedup.add(*entry));
        let parts = parts(entry, is_duplicate);
        known.block.push(seq, &entries, &entry.received, &parts);
        self.records.push(Record {
            seq,
            kept_at: self.kept_at,
            parts,
            received: Arc::clone(&entry.received),
            events: Some(Arc::clone(&entry.events)),
        });
        Ok(Appended::New { seq, duplicates })
    }

    fn flush(&mut self) -> Result<(), Error> {
        let known = &mut *self.known;
        if !known.block.is_empty() {
            known.wal += in_wal(&known.block);
            store::insert(&self.transaction, &known.block)?;
            known.block.clear();
        }
        Ok(())
    }

    /// Returns the transaction for a change of anything but the log's end, and counts the operation as
    /// a part of the WAL.
    pub(super) fn change(&mut self) -> &Transaction<'a> {
        self.known.wal += store::PAGE + self.bytes;
        &self.transaction
    }

    /// Saves progress for the desk with this epoch.
    pub(super) fn save(
        &mut self,
        change: &ProgressChange,
        epoch: u64,
    ) -> Result<Result<(), Unavailable>, Error> {
        if epoch != self.epoch {
            return Ok(Err(Unavailable::Fenced(0)));
        }
        store::save(self.change(), change).map(Ok)
    }

    pub(super) fn put_document(
        &mut self,
        key: &str,
        value: Option<&[u8]>,
        expected: Expected,
    ) -> Result<Result<Version, PutError>, Error> {
        if !expected.allows(store::version_of(&self.transaction, key)?) {
            return Ok(Err(PutError::Conflict));
        }
        self.known.documents += 1;
        let version = self.known.documents;
        store::put_document(self.change(), key, value, version)?;
        Ok(Ok(version))
    }

    pub(super) fn trim(&mut self, up_to: Seq) -> Result<Result<usize, Unavailable>, Error> {
        match self.known.dedup.outlive(up_to, self.now) {
            Ok(()) => store::trim(self.change(), up_to).map(Ok),
            // This must not make the other operations fail.
            Err(error) => {
                let why = format!("dedup entries cannot be sealed, no event is removed: {error}");
                Ok(Err(Unavailable::Away(why)))
            }
        }
    }
}

/// Returns the parts of a body, with the duplicates marked.
fn parts(entry: &Entry, is_duplicate: impl Fn(Part) -> bool) -> Parts {
    if let [only] = &entry.parts[..]
        && only.session.is_none()
    {
        return Parts::one(&entry.received, store::SHARES);
    }
    let kept = (1..).zip(&entry.parts).map(|(part, own)| KeptPart {
        session: own.session.clone(),
        duplicate: is_duplicate(part),
    });
    Parts::several(kept.collect(), &entry.received, store::SHARES)
}

/// Estimates how many bytes a block adds to the WAL, which takes whole pages: the table's last
/// page, and pages of the block's own if it does not fit there.
fn in_wal(block: &Block) -> usize {
    let own = match block.bytes() {
        bytes if bytes < store::PAGE => 0,
        bytes => bytes.div_ceil(store::PAGE),
    };
    (1 + own) * store::PAGE
}

/// Converts an error of the dedup segments, so that it ends a transaction.
fn unreadable(error: std::io::Error) -> Error {
    Error::ToSqlConversionFailure(Box::new(error))
}

/// The WAL is copied into the database at this size. Senders wait during that time: at a smaller
/// size, or if pages were counted that are not there, one request in a hundred would wait at 4,000
/// a second.
const CHECKPOINT_BYTES: usize = 16 * 1024 * 1024;
