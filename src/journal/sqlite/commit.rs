//! [`OpenDatabase`]: the open database, and [`Step`]: the transaction that is being written.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Error, OpenFlags};

use super::checkpoint::{Checkpointer, save_wal};
use super::delete::Deleted;
use super::files::{Gone, OpenFiles};
use super::folder::OpenError;
use super::known::{Known, unreadable};
use super::readers::Readers;
use super::sql::Transaction;
use super::{delete, reading, rows, schema, store};
use crate::Timestamp;
use crate::clock::Clock;
use crate::journal::block::Block;
use crate::journal::dedup::{DedupEntry, SealingEnded};
use crate::journal::{
    Appended, Entry, Expected, KeptPart, Part, Parts, Position, ProgressChange, PutError, Record,
    Seq, Unavailable, Version,
};

pub(super) struct OpenDatabase {
    pub(super) database: Connection,
    pub(super) files: OpenFiles,
    checkpointer: Checkpointer,
}

/// What became of a database that was closed after a failure.
#[derive(Debug)]
pub(super) struct Abandoned {
    /// Whether a sync beside the commits has failed too.
    pub(super) is_doubtful: bool,
    /// Whether everything in the write-ahead log is in the database.
    pub(super) is_wal_saved: bool,
    /// The only connection that can still copy a log without a name, which is not copied yet.
    pub(super) unsaved: Option<Connection>,
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
    /// What was written is in files that have no name any more, or another one.
    #[error("a file was removed or replaced")]
    Gone(Gone),
}

impl OpenDatabase {
    /// Opens the journal again after a failure. `known` is its newest body. A missing file is not
    /// created and an older one is refused: both would lack what was acknowledged.
    pub(super) fn again(
        path: &Path,
        readers: &Arc<Readers>,
        known: Seq,
    ) -> Result<Self, OpenError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = store::open_writer(path, flags)?;
        let found = match schema::check(&database)? {
            0 => 0,
            _ => reading::head(&database)?,
        };
        if found < known {
            return Err(OpenError::Replaced { found, known });
        }
        Self::start(database, path, readers)
    }

    pub(super) fn start(
        mut database: Connection,
        path: &Path,
        readers: &Arc<Readers>,
    ) -> Result<Self, OpenError> {
        // Writes nothing to a database of another program.
        let version = schema::check(&database)?;
        store::set_up_writer(&database)?;
        schema::migrate(&mut database, version)?;
        reading::newest(&database)?;
        // After a failed fsync it is unknown which part of the WAL is on the disk.
        store::checkpoint(&database)?;
        readers.hold_open()?;
        let checkpointer = Checkpointer::start(path, readers)?;
        Ok(Self {
            database,
            files: OpenFiles::of(path),
            checkpointer,
        })
    }

    /// Copies the WAL into the database and closes it after the last write, and the readers' connections
    /// before it: the database alone is the whole journal then.
    pub(super) fn close(self, readers: &Readers) {
        let Self {
            database,
            files,
            checkpointer,
        } = self;
        if let Err(gone @ Gone::Database) = files.check() {
            log::error!(
                "journal: {}; what it held is lost when offhook ends",
                files.tell(gone)
            );
        }
        // Before the readers are stopped: its thread may have to stop them for the end of a lap.
        drop(checkpointer);
        readers.while_closed(|| {
            if let Err(error) = delete::purge(&database) {
                log::warn!(
                    "journal: it cannot be written again after deletions, that is tried at the next stop: {error}"
                );
            }
            let copied = store::checkpoint(&database);
            if let Err(error) = copied.and_then(|()| store::set_up_closing(&database)) {
                log::warn!(
                    "journal: journal.db-wal stays, because it cannot be copied into journal.db now: \
                     {error}; the next start does it; a copy of the journal needs both files"
                );
            }
            drop(database);
        });
    }

    /// Closes the database after a failure. If only the name of the WAL is gone, copies it before.
    pub(super) fn abandon(self, readers: &Readers) -> Abandoned {
        let Self {
            database,
            files,
            checkpointer,
        } = self;
        let is_doubtful = checkpointer.end().is_some();
        let is_nameless = files.check() == Err(Gone::Wal) && !is_doubtful;
        let is_wal_saved = is_nameless && save_wal(&database, readers);
        Abandoned {
            is_doubtful,
            is_wal_saved,
            unsaved: Some(database).filter(|_| is_nameless && !is_wal_saved),
        }
    }

    /// Returns why the database must be opened again, if a sync beside the commits has failed.
    pub(super) fn failure(&self) -> Option<&str> {
        self.checkpointer.failure()
    }

    /// Makes durable what `write` writes, in one transaction. `epoch` is the newest desk's. Returns
    /// the new bodies, for consumers that keep up, and how long the commit itself took.
    pub(super) fn commit(
        &mut self,
        known: &mut Known,
        write: impl FnOnce(&mut Step<'_>) -> Result<(), Error>,
        now: i64,
        epoch: u64,
        clock: &dyn Clock,
    ) -> Result<(Vec<Record>, Duration), CommitError> {
        let before = (known.head, known.kept_at, known.documents);
        let committed = self.try_commit(known, write, now, epoch, clock);
        known.block.clear();
        if committed.is_err() {
            (known.head, known.kept_at, known.documents) = before;
            known.dedup.take_back_after(known.head);
        }
        committed
    }

    fn try_commit(
        &mut self,
        known: &mut Known,
        write: impl FnOnce(&mut Step<'_>) -> Result<(), Error>,
        now: i64,
        epoch: u64,
        clock: &dyn Clock,
    ) -> Result<(Vec<Record>, Duration), CommitError> {
        // Times never go back, even if the clock is set back, because retention depends on them.
        known.kept_at = known.kept_at.max(now);
        known.block.kept_at = known.kept_at;
        let _turn = self.checkpointer.commit();
        let mut step = Step {
            transaction: Transaction::begin(&mut self.database)?,
            kept_at: Timestamp::from_millisecond(known.kept_at).unwrap_or_default(),
            known,
            records: Vec::new(),
            now,
            epoch,
            met_damage: false,
            bytes: 0,
        };
        write(&mut step)?;
        step.flush()?;
        let (records, started) = (step.records, clock.monotonic());
        step.transaction.commit().map_err(CommitError::Commit)?;
        self.files.check().map_err(CommitError::Gone)?;
        let took = clock.monotonic().saturating_duration_since(started);
        Ok((records, took))
    }

    /// Does the work that no caller waits for, after all are answered. It takes no time: what takes
    /// long is done by other threads.
    pub(super) fn tidy(&mut self, known: &mut Known, now: i64) {
        if let Err(error) = known.dedup.tidy(now) {
            log::warn!("journal: dedup entries cannot be sealed, they stay in memory: {error}");
        }
        self.checkpointer.grown(std::mem::take(&mut known.wal));
        known.head_file.note(known.head);
    }
}

/// What a trim has done.
pub(super) enum Trimmed {
    /// So many events were removed.
    Removed(usize),
    /// Some of their dead letters were removed; the next trim goes on.
    Begun,
    /// Nothing: their dedup entries are being sealed. The receiver gets a value when that has ended.
    NotSealed(SealingEnded),
}

/// A transaction that is being written.
pub(super) struct Step<'a> {
    transaction: Transaction<'a>,
    pub(super) known: &'a mut Known,
    records: Vec<Record>,
    kept_at: Timestamp,
    now: i64,
    epoch: u64,
    /// The operation that has failed met pages beside the log that cannot be read.
    pub(super) met_damage: bool,
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
            new.flat_map(|(part, own)| DedupEntry::all_of(own.key, Position::new(seq, part), now));
        let dedup = &mut known.dedup;
        let entries = entries.inspect(|entry| dedup.add(*entry));
        let parts = parts(entry, is_duplicate);
        known
            .block
            .push(seq, entries, &entry.received, &parts, &entry.events);
        self.records.push(Record {
            seq,
            kept_at: self.kept_at,
            parts,
            received: Arc::clone(&entry.received),
            events: entry.events.clone(),
            missing: None,
        });
        Ok(Appended::New { seq, duplicates })
    }

    fn flush(&mut self) -> Result<(), Error> {
        let known = &mut *self.known;
        if !known.block.is_empty() {
            known.block.finish();
            known.wal += in_wal(&known.block);
            store::insert(&self.transaction, &known.block)?;
            known.block.clear();
        }
        Ok(())
    }

    /// Counts an operation that changes anything but the log's end as a part of the WAL.
    fn count(&mut self) {
        self.known.wal += store::PAGE + self.bytes;
    }

    /// Changes rows beside the log. Pages that cannot be read make the transaction fail, and then it is written again
    /// without this operation.
    pub(super) fn beside_log<T, E>(
        &mut self,
        change: impl FnOnce(&Connection) -> Result<T, Error>,
    ) -> Result<Result<T, E>, Error> {
        self.count();
        let changed = change(&self.transaction);
        self.noted(changed).map(Ok)
    }

    /// Notes whether this has met pages that cannot be read. After that SQLite refuses all that the transaction
    /// writes, and its commit, so that a savepoint does not help.
    fn noted<T>(&mut self, changed: Result<T, Error>) -> Result<T, Error> {
        self.met_damage = matches!(&changed, Err(error) if reading::is_damage(error));
        changed
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
        self.beside_log(|database| rows::save(database, change))
    }

    pub(super) fn put_document(
        &mut self,
        key: &str,
        value: Option<&[u8]>,
        expected: Expected,
    ) -> Result<Result<Version, PutError>, Error> {
        let version = self.known.documents + 1;
        let put = self.beside_log(|database| {
            if !expected.allows(rows::version_of(database, key)?) {
                return Ok(Err(PutError::Conflict));
            }
            rows::put_document(database, key, value, version).map(Ok)
        })?;
        let put = put.flatten();
        if put.is_ok() {
            self.known.documents = version;
        }
        Ok(put.map(|()| version))
    }

    /// Removes the oldest events. Pages that cannot be read stop only this.
    pub(super) fn trim(&mut self, up_to: Seq) -> Result<Result<Trimmed, Unavailable>, Error> {
        self.count();
        let head = self.known.head;
        let trimmed = (|| {
            let Some(oldest) = store::oldest(&self.transaction, up_to, head)? else {
                return Ok(Trimmed::Removed(0));
            };
            if let Some(ended) = self.known.dedup.outlive(oldest.last, self.now) {
                return Ok(Trimmed::NotSealed(ended));
            }
            let removed = store::trim(&self.transaction, oldest)?;
            Ok(removed.map_or(Trimmed::Begun, Trimmed::Removed))
        })();
        self.noted(trimmed).map(Ok)
    }

    /// Deletes some of these bodies, which are sorted. Returns when that was, too. Pages that cannot be read stop
    /// only this.
    pub(super) fn delete(
        &mut self,
        bodies: &[Seq],
    ) -> Result<Result<(Deleted, Timestamp), Unavailable>, Error> {
        let at = Timestamp::from_millisecond(self.now).unwrap_or_default();
        store::overwrite_all(&self.transaction, true)?;
        let deleted = delete::delete(&self.transaction, bodies, self.now);
        store::overwrite_all(&self.transaction, false)?;
        let deleted = self.noted(deleted)?;
        self.bytes = deleted.bytes;
        self.count();
        Ok(Ok((deleted, at)))
    }
}

/// Returns the parts of a body, with the duplicates marked.
fn parts(entry: &Entry, is_duplicate: impl Fn(Part) -> bool) -> Parts {
    if let [only] = &entry.parts[..]
        && only.session.is_none()
    {
        return Parts::one(&entry.received, reading::SHARES);
    }
    let kept = (1..).zip(&entry.parts).map(|(part, own)| KeptPart {
        session: own.session.clone(),
        duplicate: is_duplicate(part),
    });
    Parts::several(kept.collect(), &entry.received, reading::SHARES)
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
