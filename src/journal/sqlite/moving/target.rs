//! [`SqliteTarget`]: writes a journal beside the place where it is looked for, and puts it there when it is whole.
//!
//! It is in the folder `moving` of `journal.path`: `from` says of which journal, `keys` is there when all dedup
//! keys are, and `done` when everything is. Then the segments get their place, and at last the database. What is left
//! of the folder is removed after that, `from` last: where it is without a database, the journal has its place already.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::super::delete::{self, deletion_sum};
use super::super::folder::{self, FILE, KEYS};
use super::super::sql::{execute, signed};
use super::super::{dead, reading, rekey, rows, schema, store};
use crate::clock::Clock;
use crate::journal::block::Block;
use crate::journal::dedup::{
    DedupEntry, DedupTuning, DedupWindow, length_of_segments, remove_segments,
};
use crate::journal::moving::{MoveError, MovedCounts, Reshape, failed};
use crate::journal::{Deletion, Document, NamedLetter, ProgressChange, Seq, Version};

/// A journal that is being written.
pub(in crate::journal) struct SqliteTarget {
    folder: PathBuf,
    moving: PathBuf,
    database: Connection,
    now: i64,
    /// Up to which body an earlier process had come.
    pub(in crate::journal) resumed_at: Option<Seq>,
    /// An earlier process has put the journal where it is looked for.
    is_placed: bool,
    /// No server opens a journal in the folder.
    _lock: File,
}

/// The dedup keys that are being written.
pub(in crate::journal) struct Keys {
    window: DedupWindow,
    now: i64,
}

impl SqliteTarget {
    /// Begins, or goes on where an earlier process was interrupted that had the same source.
    pub(in crate::journal) fn open(
        folder: &Path,
        from: &str,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, MoveError> {
        let refused = |error: &dyn std::fmt::Display| {
            let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
            MoveError::Refused(format!("{}: {error}", folder.display()))
        };
        folder::create(folder).map_err(|error| refused(&error))?;
        let lock = folder::lock(folder).map_err(|error| refused(&error))?;
        let (moving, database) = (folder.join(MOVING), folder.join(FILE));
        let is_from = std::fs::read_to_string(moving.join(FROM)).is_ok_and(|found| found == from);
        let is_known = is_from && moving.join(FILE).exists();
        let has_journal = std::fs::metadata(&database).is_ok_and(|file| file.len() > 0);
        let is_placed = is_from && !is_known && has_journal;
        if has_journal && !is_placed {
            return Err(refused(&TAKEN));
        }
        if !is_known && !is_placed {
            folder::missing(folder, &database).map_err(|error| refused(&error))?;
            begin(&moving, from).map_err(|error| refused(&error))?;
        }
        let written = match is_placed {
            true => database,
            false => moving.join(FILE),
        };
        let database = open(&written).map_err(|error| refused(&error))?;
        let mut target = Self {
            folder: folder.to_owned(),
            moving,
            database,
            now: clock.now().as_millisecond(),
            resumed_at: None,
            is_placed,
            _lock: lock,
        };
        if is_known || is_placed {
            target.resumed_at = Some(target.newest().map_err(failed)?);
        }
        Ok(target)
    }

    /// Refuses a journal that was put where it is looked for and has gone on since: it is in use.
    pub(in crate::journal) fn refuse_used(&self, head: Seq) -> Result<(), MoveError> {
        if !self.is_placed || self.resumed_at == Some(head) {
            return Ok(());
        }
        let folder = std::path::absolute(&self.folder).unwrap_or_else(|_| self.folder.clone());
        Err(MoveError::Refused(format!("{}: {TAKEN}", folder.display())))
    }

    /// The newest body that is there.
    pub(in crate::journal) fn newest(&self) -> rusqlite::Result<Seq> {
        Ok(reading::newest(&self.database)?.0)
    }

    pub(in crate::journal) fn add_blocks(&mut self, blocks: &[Block]) -> rusqlite::Result<()> {
        let transaction = self.database.transaction()?;
        for block in blocks {
            store::insert(&transaction, block)?;
        }
        transaction.commit()
    }

    pub(in crate::journal) fn has_keys(&self) -> bool {
        self.moving.join(HAS_KEYS).exists()
    }

    /// Begins to write the dedup keys of bodies up to `head`.
    pub(in crate::journal) fn begin_keys(&self, head: Seq) -> Result<Keys, MoveError> {
        let folder = self.moving.join(KEYS);
        if folder.exists() {
            remove_segments(&folder).map_err(failed)?;
        }
        let window = DedupWindow::open(&folder, head, self.now, DedupTuning::default());
        Ok(Keys {
            window: window.map_err(failed)?,
            now: self.now,
        })
    }

    /// Seals all keys: `all` is how many there are, and how many different ones.
    pub(in crate::journal) fn finish_keys(
        &self,
        mut keys: Keys,
        (all, different): (u64, u64),
    ) -> Result<(), MoveError> {
        keys.window.seal_rest(keys.now).map_err(failed)?;
        drop(keys);
        let new = length_of_segments(&self.moving.join(KEYS)).map_err(failed)?;
        // One that came again after its window is stored once in a segment.
        if !(different..=all).contains(&new) {
            return Err(MoveError::Differs {
                what: "dedup keys",
                old: all,
                new,
            });
        }
        mark(&self.moving.join(HAS_KEYS)).map_err(failed)
    }

    /// Begins the transaction with everything else. The log begins with `first`.
    pub(in crate::journal) fn begin_rest(&mut self, first: Seq) -> rusqlite::Result<()> {
        self.database.execute_batch("BEGIN IMMEDIATE")?;
        rows::set_counter(&self.database, rows::TRIMMED, first - 1)?;
        rows::set_counter(&self.database, rows::DEDUP_KEYS, rekey::KEYS_VERSION)
    }

    pub(in crate::journal) fn add_documents(
        &self,
        documents: &[Document],
        newest: Version,
    ) -> rusqlite::Result<()> {
        for Document {
            key,
            value,
            version,
        } in documents
        {
            rows::put_document(&self.database, key, Some(value), *version)?;
        }
        rows::set_counter(&self.database, rows::DOCUMENTS, newest)
    }

    pub(in crate::journal) fn add_deletions(
        &self,
        deletions: &[Deletion],
        newest: u64,
    ) -> rusqlite::Result<()> {
        for Deletion { number, seq } in deletions {
            let sql = "INSERT INTO deletions VALUES (?, ?, ?)";
            let sum = deletion_sum(*seq, *number);
            execute(
                &self.database,
                sql,
                params![signed(*seq), signed(*number), sum],
            )?;
        }
        // Nothing of these bodies was ever in this file, so it need not be written again.
        rows::set_counter(&self.database, delete::PURGED, newest)?;
        rows::set_counter(&self.database, delete::NUMBER, newest)
    }

    pub(in crate::journal) fn add_letters(&self, letters: &[NamedLetter]) -> rusqlite::Result<()> {
        for (consumer, letter) in letters {
            dead::add(&self.database, consumer, std::slice::from_ref(letter))?;
        }
        Ok(())
    }

    pub(in crate::journal) fn add_progress(&self, change: &ProgressChange) -> rusqlite::Result<()> {
        rows::save(&self.database, change)
    }

    pub(in crate::journal) fn finish_rest(&mut self) -> rusqlite::Result<()> {
        self.database.execute_batch("COMMIT")?;
        mark(&self.moving.join(DONE))
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
    }

    /// Whether everything is there.
    pub(in crate::journal) fn is_done(&self) -> bool {
        self.is_placed || self.moving.join(DONE).exists()
    }

    pub(in crate::journal) fn counts(&self, shapes: &dyn Reshape) -> rusqlite::Result<MovedCounts> {
        let count = |sql| self.database.query_row(sql, [], |row| row.get::<_, u64>(0));
        let mut statement = self.database.prepare("SELECT name FROM consumers")?;
        let names = statement.query_map([], |row| row.get::<_, String>(0))?;
        let names = names.collect::<rusqlite::Result<Vec<_>>>()?;
        let mut paused = 0;
        for name in &names {
            let saved = rows::saved(&self.database, name)?.saved.unwrap_or_default();
            paused += u64::from(shapes.is_paused(&saved));
        }
        Ok(MovedCounts {
            events: count("SELECT coalesce(sum(last - first + 1), 0) FROM blocks")?,
            deletions: count("SELECT count(*) FROM deletions")?,
            consumers: names.len() as u64,
            paused,
            dead_letters: count("SELECT count(*) FROM dead_letters")?,
            documents: count("SELECT count(*) FROM documents")?,
        })
    }

    /// Puts the journal where it is looked for. Returns how many dedup keys it has.
    pub(in crate::journal) fn finish(self) -> Result<u64, MoveError> {
        let Self {
            folder,
            moving,
            database,
            is_placed,
            ..
        } = self;
        store::checkpoint(&database).map_err(failed)?;
        let mode = |_: &rusqlite::Row<'_>| Ok(());
        // Its write-ahead log would have another name.
        let mode = database.pragma_update_and_check(None, "journal_mode", "DELETE", mode);
        mode.map_err(failed)?;
        database.close().map_err(|(_, error)| failed(error))?;
        let place = || {
            let (from, to) = (moving.join(KEYS), folder.join(KEYS));
            if !is_placed {
                File::open(moving.join(FILE))?.sync_all()?;
                if from.exists() {
                    std::fs::rename(from, &to)?;
                }
                sync(&folder)?;
                std::fs::rename(moving.join(FILE), folder.join(FILE))?;
                sync(&folder)?;
            }
            remove(&moving)?;
            length_of_segments(&to)
        };
        let placed: io::Result<u64> = place();
        placed.map_err(failed)
    }
}

impl Keys {
    /// Adds entries in the order of their bodies.
    pub(in crate::journal) fn add(&mut self, entries: &[DedupEntry]) -> io::Result<()> {
        for entry in entries {
            self.window.restore(*entry, self.now)?;
        }
        Ok(())
    }
}

/// Makes the folder, without anything that was in it.
fn begin(moving: &Path, from: &str) -> io::Result<()> {
    match std::fs::remove_dir_all(moving) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    DirBuilder::new().mode(0o700).create(moving)?;
    folder::create_private(&moving.join(FILE))?;
    std::fs::write(moving.join(FROM), from)?;
    File::open(moving.join(FROM))?.sync_all()?;
    sync(moving)
}

/// Removes the folder when the journal has its place, and `from` after the marks.
fn remove(moving: &Path) -> io::Result<()> {
    for name in [HAS_KEYS, DONE] {
        match std::fs::remove_file(moving.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::remove_dir_all(moving)
}

/// Opens the database, and creates its tables if they are not there.
fn open(path: &Path) -> Result<Connection, super::super::folder::OpenError> {
    let mut database = Connection::open(path)?;
    database.pragma_update(None, "page_size", store::PAGE)?;
    database.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    database.pragma_update(None, "synchronous", "NORMAL")?;
    let version = schema::check(&database)?;
    schema::migrate(&mut database, version)?;
    Ok(database)
}

/// Makes an empty file that stays after a power cut.
fn mark(path: &Path) -> io::Result<()> {
    File::create(path)?.sync_all()?;
    path.parent().map_or(Ok(()), sync)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

const TAKEN: &str =
    "there is a journal already; set journal.path of the settings of --to to another folder";

const MOVING: &str = "moving";
const FROM: &str = "from";
const HAS_KEYS: &str = "keys";
const DONE: &str = "done";
