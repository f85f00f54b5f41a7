//! [`Known`]: what the thread that writes knows of the database.

use std::path::Path;

use rusqlite::{Connection, Error};

use super::damage::Damage;
use super::files::HeadFile;
use super::folder::{KEYS, OpenError};
use super::wal::WalScan;
use super::{reading, rows};
use crate::journal::block::Block;
use crate::journal::dedup::{DedupTuning, DedupWindow, newest_segment};
use crate::journal::{Seq, Version};

/// What the thread knows of the database. It stays when the database is opened again.
pub(super) struct Known {
    pub(super) dedup: DedupWindow,
    /// The number of the newest body.
    pub(super) head: Seq,
    /// When it became durable, in milliseconds since 1970.
    pub(super) kept_at: i64,
    /// The newest change of a document.
    pub(super) documents: Version,
    /// Collects the bodies of a commit.
    pub(super) block: Block,
    /// Estimates the bytes that the commit adds to the WAL.
    pub(super) wal: usize,
    /// Remembers the newest body beside the log.
    pub(super) head_file: HeadFile,
}

impl Known {
    /// Reads what is in the database, and the dedup entries that are not in segments. `wal` is what the
    /// write-ahead log held before.
    pub(super) fn read(
        database: &Connection,
        folder: &Path,
        now: i64,
        wal: &WalScan,
        damage: &Damage,
    ) -> Result<Self, OpenError> {
        let (found, kept_at) = reading::newest(database)?;
        let keys_folder = folder.join(KEYS);
        let io = |error| OpenError::io(folder, error);
        let mut head_file = HeadFile::open(folder).map_err(io)?;
        let head = head_of(database, found, &keys_folder, &head_file, wal, damage)?;
        head_file.note(head);
        // Events that are lost make no duplicates.
        let dedup = DedupWindow::open(&keys_folder, found, now, DedupTuning::default());
        let mut known = Self {
            dedup: dedup.map_err(io)?,
            head,
            kept_at,
            documents: rows::newest_document(database)?,
            block: Block::default(),
            wal: 0,
            head_file,
        };
        let sealed = known.dedup.sealed_up_to();
        reading::entries_after(database, sealed, head, |entry| match entry.until > now {
            true => known.dedup.restore(entry, now).map_err(unreadable),
            false => Ok(()),
        })?;
        Ok(known)
    }

    /// Takes in what a failed commit has left in the database. Reads no entry that is in memory.
    pub(super) fn catch_up(&mut self, database: &Connection, now: i64) -> Result<(), OpenError> {
        let dedup = &mut self.dedup;
        let added = reading::entries_after(database, self.head, Seq::MAX >> 1, |entry| {
            if entry.until > now {
                dedup.add(entry);
            }
            Ok(())
        });
        let newest = added.and_then(|()| {
            let (head, newest) = (reading::head(database)?, reading::newest(database)?);
            Ok((head, newest.1, rows::newest_document(database)?))
        });
        if newest.is_err() {
            self.dedup.take_back_after(self.head);
        }
        let (head, kept_at, documents) = newest?;
        self.head = head;
        self.kept_at = self.kept_at.max(kept_at);
        self.documents = documents;
        Ok(())
    }
}

/// Returns the newest body that was ever stored. A log that ends with an earlier one is told: numbers are
/// not given twice, and consumers and administrators are told that these events are damaged.
fn head_of(
    database: &Connection,
    found: Seq,
    keys_folder: &Path,
    head_file: &HeadFile,
    wal: &WalScan,
    damage: &Damage,
) -> Result<Seq, OpenError> {
    for_unfinished(database, damage)?;
    let told = rows::counter(database, rows::LOST)?.unwrap_or(0);
    let before = found.max(told);
    let in_wal = wal.behind.as_ref().map_or(0, |behind| behind.newest);
    let segment = newest_segment(keys_folder).unwrap_or(0);
    let head = before.max(head_file.known()).max(in_wal).max(segment);
    // In a power cut the last commit may be half on the disk. Nothing else knows of its events then.
    let is_last = { wal.behind.as_ref() }.is_some_and(|behind| behind.commits <= 1);
    if is_last && head_file.known().max(segment) <= before {
        log::warn!(
            "journal: the last commit in journal.db-wal is not whole{}; it may be the one that was under way when \
             the machine stopped: then nobody was told that its events are stored, and senders send them again; if \
             the disk damaged it later, they are lost",
            if head > before {
                format!(" (events {} to {head})", before + 1)
            } else {
                String::new()
            }
        );
        if head > before {
            for (name, number) in rows::UNFINISHED.into_iter().zip([before + 1, head]) {
                rows::set_counter(database, name, number)?;
            }
            // These numbers are not given again: this may be wrong.
            rows::set_counter(database, rows::LOST, head)?;
            rows::note_loss(database, before + 1, head)?;
            for_unfinished(database, damage)?;
        }
        return Ok(head);
    }
    if let Some(behind) = &wal.behind {
        log::error!(
            "journal: journal.db-wal is damaged at byte {}: {} of its pages behind that, of {} \
             transactions, are not used; the journal ends with event {found}, and what consumers have saved \
             since is lost, so events may be handed over once more",
            behind.at,
            behind.frames,
            behind.commits
        );
    }
    if head > before {
        log::error!(
            "journal: events {} to {head} are missing: they were stored, and the journal ends with event \
             {before}; was an older copy of its files restored, or the end of journal.db-wal lost? No event \
             gets these numbers again, and consumers pass over them",
            before + 1
        );
        rows::set_counter(database, rows::LOST, head)?;
        rows::note_loss(database, before + 1, head)?;
    }
    Ok(head)
}

/// Reports nothing of the commit that was under way at the last power cut.
fn for_unfinished(database: &Connection, damage: &Damage) -> Result<(), OpenError> {
    let [first, last] = rows::UNFINISHED.map(|name| rows::counter(database, name));
    if let (Some(first), Some(last)) = (first?, last?) {
        damage.is_told(first, last);
    }
    Ok(())
}

/// Converts an error of the dedup segments, so that it ends a transaction.
pub(super) fn unreadable(error: std::io::Error) -> Error {
    Error::ToSqlConversionFailure(Box::new(error))
}
