//! [`Known`]: what the thread that writes knows of the database.

use std::path::Path;

use rusqlite::{Connection, Error};

use super::folder::OpenError;
use super::store;
use crate::journal::block::Block;
use crate::journal::dedup::{DedupTuning, DedupWindow};
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
}

impl Known {
    /// Reads what is in the database, and the dedup entries that are not in segments.
    pub(super) fn read(
        database: &Connection,
        keys_folder: &Path,
        now: i64,
    ) -> Result<Self, OpenError> {
        let (head, kept_at) = store::newest(database)?;
        let io = |error| OpenError::io(keys_folder, error);
        let dedup = DedupWindow::open(keys_folder, head, now, DedupTuning::default());
        let mut known = Self {
            dedup: dedup.map_err(io)?,
            head,
            kept_at,
            documents: store::newest_document(database)?,
            block: Block::default(),
            wal: 0,
        };
        let sealed = known.dedup.sealed_up_to();
        store::entries_after(database, sealed, |entry| match entry.until > now {
            true => known.dedup.restore(entry, now).map_err(unreadable),
            false => Ok(()),
        })?;
        Ok(known)
    }

    /// Takes in what a failed commit has left in the database. Reads no entry that is in memory.
    pub(super) fn catch_up(&mut self, database: &Connection, now: i64) -> Result<(), OpenError> {
        let dedup = &mut self.dedup;
        let added = store::entries_after(database, self.head, |entry| {
            if entry.until > now {
                dedup.add(entry);
            }
            Ok(())
        });
        let newest =
            added.and_then(|()| Ok((store::newest(database)?, store::newest_document(database)?)));
        if newest.is_err() {
            self.dedup.take_back_after(self.head);
        }
        let ((head, kept_at), documents) = newest?;
        self.head = head;
        self.kept_at = self.kept_at.max(kept_at);
        self.documents = documents;
        Ok(())
    }
}

/// Converts an error of the dedup segments, so that it ends a transaction.
pub(super) fn unreadable(error: std::io::Error) -> Error {
    Error::ToSqlConversionFailure(Box::new(error))
}
