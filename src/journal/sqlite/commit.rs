//! [`Open`]: the open database, and what the thread knows of it.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Error, OpenFlags};

use super::folder::OpenError;
use super::operation::{Operation, Step, unreadable};
use super::{schema, store};
use crate::clock::Clock;
use crate::journal::block::Block;
use crate::journal::dedup::{DedupTuning, DedupWindow};
use crate::journal::{Seq, Version};

/// The open database.
pub(super) struct Open {
    pub(super) database: Connection,
    dedup: DedupWindow,
    /// The number of the newest body.
    pub(super) head: Seq,
    /// When it became durable, in milliseconds since 1970.
    pub(super) kept_at: i64,
    /// The newest change of a document.
    pub(super) documents: Version,
    /// Collects the bodies of a commit.
    block: Block,
    /// Estimates the bytes written to the WAL since its last checkpoint.
    wal: usize,
}

impl Open {
    /// Opens the journal again after a failure. `known` is its newest body. A missing file is not
    /// created and an older one is refused: both would lack what was acknowledged.
    pub(super) fn again(path: &Path, keys: &Path, now: i64, known: Seq) -> Result<Self, OpenError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = store::open_writer(path, flags)?;
        let found = match schema::check(&database)? {
            0 => 0,
            _ => store::head(&database)?,
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
        let head = store::head(&database)?;
        let kept_at = store::last_kept_at(&database)?;
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
        let documents = store::newest_document(&database)?;
        Ok(Self {
            database,
            dedup,
            head,
            kept_at,
            documents,
            block: Block::default(),
            wal: 0,
        })
    }

    /// Writes a batch in one transaction; each operation keeps its outcome. Returns how long the
    /// commit itself took. `epoch` is the newest desk's.
    pub(super) fn commit(
        &mut self,
        batch: &mut [Operation],
        now: i64,
        epoch: u64,
        clock: &dyn Clock,
    ) -> Result<Duration, Error> {
        let before = (self.head, self.kept_at, self.documents);
        // Times never go back, even if the clock is set back, because retention depends on them.
        self.kept_at = self.kept_at.max(now);
        let committed = self.try_commit(batch, now, epoch, clock);
        self.block.clear();
        if committed.is_err() {
            (self.head, self.kept_at, self.documents) = before;
            self.dedup.take_back_after(self.head);
        }
        committed
    }

    fn try_commit(
        &mut self,
        batch: &mut [Operation],
        now: i64,
        epoch: u64,
        clock: &dyn Clock,
    ) -> Result<Duration, Error> {
        self.block.kept_at = self.kept_at;
        let mut step = Step {
            // Rolled back if it is dropped without a commit.
            transaction: self.database.transaction()?,
            dedup: &mut self.dedup,
            block: &mut self.block,
            head: &mut self.head,
            documents: &mut self.documents,
            wal: &mut self.wal,
            now,
            epoch,
        };
        for operation in batch {
            match operation {
                Operation::Append(append) => append.appended = Some(step.append(&append.entry)?),
                Operation::Change(change) => {
                    *step.wal += store::PAGE + change.bytes();
                    change.make(&mut step)?;
                }
            }
        }
        step.flush()?;
        let started = clock.monotonic();
        step.transaction.commit()?;
        Ok(clock.monotonic().saturating_duration_since(started))
    }

    /// Does the work that no caller waits for, after all are answered.
    pub(super) fn tidy(&mut self, now: i64) {
        if let Err(error) = self.dedup.tidy(now) {
            log::warn!("journal: dedup entries cannot be sealed, they stay in memory: {error}");
        }
        if self.wal >= CHECKPOINT_BYTES {
            self.bring_in();
        }
    }

    /// Copies the WAL into the database. A failure loses nothing: the WAL grows until a checkpoint
    /// succeeds or the disk is full, when commits fail.
    fn bring_in(&mut self) {
        self.wal = 0;
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

/// The WAL is copied into the database at this size. Senders wait during that time: at a smaller
/// size, or if pages were counted that are not there, one request in a hundred would wait at 4,000
/// a second.
const CHECKPOINT_BYTES: usize = 16 * 1024 * 1024;
