//! [`salvage`]: writes what can be read of a damaged journal into a new folder.
//!
//! The damaged files are copied first and not opened: SQLite would write beside them. What SQLite can find is
//! taken from the copy row by row. Bodies that it cannot find are looked for in the pages themselves
//! ([`Pages`]). Every number stays as it is.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use roaring::RoaringTreemap;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use super::backup::copy_segments;
use super::files::known_head;
use super::folder::{self, FILE, KEYS, OpenError};
use super::pages::{Pages, Type};
use super::partial::{FilesError, Partial};
use super::reach::{MOST, Reach};
use super::saved_copy::SavedCopy;
use super::tables::Table;
use super::walk::{self, Piece, Walk};
use super::{rows, schema, store};
use crate::journal::dedup::{check_segment, segments_up_to};
use crate::journal::{Record, Seq};

/// What was saved of a damaged journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvaged {
    /// How many bodies were saved, without those that had been deleted. Nearly every body is one event.
    pub events: u64,
    /// The newest number that is known of.
    pub newest: Seq,
    /// The length of the new database in bytes.
    pub bytes: u64,
    /// The first and the last number of bodies that are lost, in order.
    pub lost: Vec<(Seq, Seq)>,
    /// What else could not be saved, for the reader.
    pub left_out: Vec<String>,
}

impl Salvaged {
    /// Returns whether everything was saved.
    pub fn is_complete(&self) -> bool {
        self.lost.is_empty() && self.left_out.is_empty()
    }
}

/// Writes what can be read of the journal in `folder` into the new folder `to`, which can be a `journal.path`
/// afterwards. The damaged journal is not changed. No server may have it open.
///
/// Takes room for the journal twice, until it is done.
///
/// ```no_run
/// # fn main() -> Result<(), offhook::journal::FilesError> {
/// let saved = offhook::journal::salvage("data".as_ref(), "saved".as_ref())?;
/// for (first, last) in saved.lost {
///     println!("lost: {first} to {last}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// When there is no journal, when a server has it open, when nothing of it can be read, when it is of a newer
/// version, when `to` is not empty, or when a file cannot be written. Then there is no `to`.
pub fn salvage(folder: &Path, to: &Path) -> Result<Salvaged, FilesError> {
    let source = folder.join(FILE);
    let length = std::fs::metadata(&source).map_or(0, |file| file.len());
    if length == 0 {
        return Err(FilesError::NoJournal(folder.to_owned()));
    }
    if is_inside(to, folder) {
        return Err(FilesError::Inside(to.to_owned()));
    }
    let held = folder::hold(folder).map_err(|error| match error {
        OpenError::InUse(folder) => FilesError::InUse(folder),
        error => FilesError::unknown(folder, &error),
    })?;
    let partial = Partial::create(to)?;
    partial.has_room(length.saturating_mul(2))?;
    let damaged = Damaged::copy(folder, partial.path())?;
    let rescue = Rescue {
        damaged: &damaged,
        copy: SavedCopy::create(partial.path())?,
        found: RoaringTreemap::new(),
        deleted: RoaringTreemap::new(),
        oldest: 1,
        is_oldest_known: true,
        report: Salvaged::default(),
    };
    let (mut report, keys_are_good) = rescue.carry_out(folder)?;
    if keys_are_good {
        copy_segments(folder, partial.path(), Seq::MAX)?;
    }
    damaged.remove()?;
    drop(held);
    let path = partial.path().join(FILE);
    let synced = File::open(&path).and_then(|file| {
        file.sync_all()?;
        file.metadata()
    });
    report.bytes = synced.map_err(FilesError::io(&path))?.len();
    partial.finish()?;
    Ok(report)
}

/// Whether a path that need not exist is in a folder.
fn is_inside(path: &Path, folder: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let above = path.ancestors().find_map(real);
    above
        .zip(real(folder))
        .is_some_and(|(path, folder)| path.starts_with(folder))
}

/// A copy of the damaged files.
struct Damaged {
    path: PathBuf,
    database: Connection,
}

impl Damaged {
    fn copy(from: &Path, to: &Path) -> Result<Self, FilesError> {
        let path = to.join(COPY);
        for suffix in ["", "-wal"] {
            let from = from.join(format!("{FILE}{suffix}"));
            let to = to.join(format!("{COPY}{suffix}"));
            match std::fs::copy(&from, &to) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.map_err(FilesError::io(&from))?),
            }
        }
        let failed = |error| FilesError::database(from, &error);
        let database = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE);
        let database = database.map_err(failed)?;
        // Otherwise nothing can be read of a file that was cut off.
        database
            .pragma_update(None, "writable_schema", true)
            .map_err(failed)?;
        // Brings the write-ahead log in, so that all pages are in one file. What SQLite refuses to read has
        // none.
        let _ = database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        Ok(Self { path, database })
    }

    fn remove(self) -> Result<(), FilesError> {
        drop(self.database);
        for suffix in ["", "-wal", "-shm"] {
            let mut path = self.path.as_os_str().to_owned();
            path.push(suffix);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.map_err(FilesError::io(Path::new(&path)))?,
            }
        }
        Ok(())
    }
}

struct Rescue<'a> {
    damaged: &'a Damaged,
    copy: SavedCopy,
    /// The bodies that are saved.
    found: RoaringTreemap,
    /// The bodies that were deleted.
    deleted: RoaringTreemap,
    /// Retention has removed all before this one.
    oldest: Seq,
    is_oldest_known: bool,
    report: Salvaged,
}

impl Rescue<'_> {
    /// Saves everything. Returns whether the dedup segments can be used as they are.
    fn carry_out(mut self, folder: &Path) -> Result<(Salvaged, bool), FilesError> {
        let failed = |error: rusqlite::Error| FilesError::database(folder, &error);
        let database = &self.damaged.database;
        match schema::check(database) {
            // A damaged first page says anything.
            Ok(_) | Err(OpenError::NotOurs | OpenError::Damaged(_) | OpenError::Database(_)) => {}
            Err(error) => return Err(FilesError::unknown(folder, &error)),
        }
        self.copy.create_tables(database)?;
        let columns = walk::columns(database);
        let tables = Table::all(database).unwrap_or_default();
        self.find_deleted(&tables).map_err(failed)?;
        let known = known_head(folder).max(self.counter(rows::LOST).unwrap_or(0));
        let saved = self.save_log(columns.as_deref(), known);
        let (walked, ends_whole) = saved.map_err(failed)?;
        self.save_pages(columns.as_deref()).map_err(failed)?;
        if self.found.is_empty() && !tables.iter().any(|table| table.name == "consumers") {
            return Err(FilesError::Nothing(folder.to_owned()));
        }
        let reached = self.save_tables(&tables).map_err(failed)?;
        let segments = self.segments(folder);
        let newest_segment = segments.as_ref().and_then(|segments| segments.last());
        let sealed = newest_segment.map_or(0, |(last, _)| *last);
        let found = self.found.max().unwrap_or(0);
        let newest = found.max(walked).max(sealed).max(known);
        let newest = newest.max(reached.known);
        self.tell_lost(newest, ends_whole);
        let are_keys_good = segments.is_some_and(|all| self.are_keys_good(&all, sealed));
        let is_cut = !ends_whole || newest > found;
        let head = is_cut.then_some(newest.max(reached.last));
        let lost = &self.report.lost;
        self.copy.finish(self.oldest, head, lost, !are_keys_good)?;
        Ok((self.report, are_keys_good))
    }

    /// Saves the blocks that SQLite finds. Returns the newest number that it finds, and whether the end of the log
    /// can be read.
    fn save_log(
        &mut self,
        columns: Option<&[String]>,
        known: Seq,
    ) -> rusqlite::Result<(Seq, bool)> {
        let trimmed = self.counter(rows::TRIMMED);
        self.oldest = trimmed.unwrap_or(0) + 1;
        self.is_oldest_known = trimmed.is_some();
        let mut walk = Walk::new(&self.damaged.database, trimmed.unwrap_or(0), known);
        let (mut is_first, mut newest, mut ends_whole) = (true, 0, true);
        while let Some(piece) = walk.next()? {
            ends_whole = true;
            match piece {
                Piece::Block {
                    first,
                    last,
                    values,
                } => {
                    if is_first && !self.is_oldest_known {
                        // An older version does not say what retention has removed, nor does a damaged row.
                        self.oldest = first;
                        self.is_oldest_known = true;
                    }
                    newest = last;
                    self.save_block(columns, &values)?;
                }
                Piece::Unreadable { last, .. } => (newest, ends_whole) = (last, false),
                Piece::EndUnreadable { .. } => ends_whole = false,
            }
            is_first = false;
        }
        Ok((newest, ends_whole))
    }

    fn counter(&self, name: &str) -> Option<Seq> {
        let counter = rows::counter(&self.damaged.database, name);
        counter.ok().flatten().filter(|number| *number <= MOST)
    }

    /// Finds which bodies were deleted. A page that SQLite no longer uses may still have such a body.
    fn find_deleted(&mut self, tables: &[Table]) -> rusqlite::Result<()> {
        let Some(table) = tables.iter().find(|table| table.name == "deletions") else {
            return Ok(());
        };
        let is_complete = table.read(&self.damaged.database, |row| {
            if table.is_whole(row)
                && let Some(seq) = table.number(row, "seq")
            {
                self.deleted.insert(seq.cast_unsigned());
            }
            Ok(())
        })?;
        if !is_complete {
            let text =
                "which events were deleted, in part; one of them may be among those that are saved";
            self.report.left_out.push(text.to_owned());
        }
        Ok(())
    }

    /// Looks for the bodies that are missing in the pages themselves.
    fn save_pages(&mut self, columns: Option<&[String]>) -> rusqlite::Result<()> {
        let Some(pages) = pages_of(&self.damaged.path) else {
            return Ok(());
        };
        let mut places = Vec::new();
        pages.find(&BLOCK, |rowid, place| {
            let last = rowid.cast_unsigned();
            if (self.oldest..=MOST).contains(&last) && !self.found.contains(last) {
                places.push((last, place));
            }
        });
        places.sort_by_key(|(last, _)| *last);
        for (last, place) in places {
            let Some(mut values) = pages.row(place) else {
                continue;
            };
            values[0] = Value::Integer(last.cast_signed());
            self.save_block(columns, &values)?;
        }
        Ok(())
    }

    /// Saves those bodies of a block that are what was written and are not saved yet.
    fn save_block(&mut self, columns: Option<&[String]>, values: &[Value]) -> rusqlite::Result<()> {
        let likely = walk::likely_columns(values);
        let columns = columns.unwrap_or(&likely);
        let Some(block) = walk::block(columns, values) else {
            return Ok(());
        };
        let is_back =
            |record: &Record| record.missing.is_none() && self.deleted.contains(record.seq);
        let (all, mut good) = ((block.last - block.first + 1) as usize, Vec::new());
        for (seq, record) in walk::records(&block) {
            if let Ok(record) = record
                && !self.found.contains(seq)
                && !is_back(&record)
            {
                good.push(record);
            }
        }
        let keys = block.entries();
        if keys.is_none() && !good.is_empty() {
            let (first, last) = (block.first, block.last);
            self.report.left_out.push(format!(
                "the dedup keys of events {first} to {last}; what is sent again is handed over again"
            ));
        }
        if good.len() == all && keys.is_some() {
            self.copy.insert(columns, values)?;
        } else {
            self.copy
                .insert_some(&block, &good, &keys.unwrap_or_default())?;
        }
        let there = good.iter().filter(|record| record.missing.is_none());
        self.report.events += there.count() as u64;
        self.found.extend(good.iter().map(|record| record.seq));
        Ok(())
    }

    /// Saves all other rows. Returns how far they reach.
    fn save_tables(&mut self, tables: &[Table]) -> rusqlite::Result<Reach> {
        let mut reached = Reach::default();
        if tables.is_empty() {
            let text = "progress, dead letters and subscriptions, because the tables cannot be found; a consumer \
                        begins with new events: `offhook replay` hands over the stored ones";
            self.report.left_out.push(text.to_owned());
        }
        for table in tables {
            let mut unsaved = Vec::new();
            let is_complete = table.read(&self.damaged.database, |row| {
                let is_whole = table.is_whole(row);
                if is_whole {
                    reached.add(table, row);
                }
                if !self.copy.add(table, row, is_whole)? {
                    unsaved.push(table.name_of(row));
                }
                Ok(())
            })?;
            self.report.left_out.extend(unsaved);
            if !is_complete {
                let text = format!("some rows of {}", table.name);
                self.report.left_out.push(text);
            }
        }
        let again = |name| format!("how far {name} had come; it gets all stored events again");
        let headless = self.copy.headless().into_iter().map(again);
        self.report.left_out.extend(headless);
        Ok(reached)
    }

    /// Finds the numbers that are not saved.
    fn tell_lost(&mut self, newest: Seq, ends_whole: bool) {
        self.report.newest = newest;
        if !self.is_oldest_known
            && let Some(oldest) = self.found.min()
        {
            self.oldest = oldest;
            let text = format!("events before {oldest}, if retention had left any");
            self.report.left_out.push(text);
        }
        let mut at = self.oldest;
        let mut numbers = self.found.iter();
        numbers.advance_to(at);
        while at <= newest {
            match numbers.next() {
                Some(number) if number == at => at += 1,
                next => {
                    let end = next.map_or(newest, |number| number - 1);
                    self.report.lost.push((at, end));
                    at = end + 2;
                }
            }
        }
        if !ends_whole {
            let text = format!("events after {newest}, if there were any");
            self.report.left_out.push(text);
        }
    }

    /// Returns the dedup segments by the newest body of each, in order; `None` if their folder cannot be read.
    fn segments(&mut self, folder: &Path) -> Option<Vec<(Seq, PathBuf)>> {
        let paths = match segments_up_to(&folder.join(KEYS), Seq::MAX) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                self.tell_keys(&error);
                return None;
            }
            Ok(paths) => paths,
        };
        let seq = |path: &PathBuf| path.file_stem()?.to_str()?.parse().ok();
        let named = paths
            .into_iter()
            .filter_map(|path| Some((seq(&path)?, path)));
        let mut segments: Vec<_> = named.filter(|(last, _)| *last <= MOST).collect();
        segments.sort();
        Some(segments)
    }

    fn tell_keys(&mut self, error: &std::io::Error) {
        self.report.left_out.push(format!(
            "dedup keys ({error}); the next start makes them again from the events that are saved"
        ));
    }

    /// Returns whether the dedup segments are whole and have no keys of events that are lost.
    fn are_keys_good(&mut self, segments: &[(Seq, PathBuf)], sealed: Seq) -> bool {
        let mut are_good = true;
        for (_, path) in segments {
            if let Err(error) = check_segment(path) {
                are_good = false;
                self.tell_keys(&error);
            }
        }
        are_good && !self.report.lost.iter().any(|(first, _)| *first <= sealed)
    }
}

/// Returns the pages of a database file.
fn pages_of(path: &Path) -> Option<Pages<impl Fn(u32) -> Option<Vec<u8>>>> {
    let file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let mut header = [0; 18];
    file.read_exact_at(&mut header, 0).ok()?;
    let size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        size if size.is_power_of_two() && size >= 512 => usize::from(size),
        _ => store::PAGE,
    };
    let read = move |number: u32| {
        let mut page = vec![0; size];
        let start = u64::from(number - 1) * size as u64;
        file.read_exact_at(&mut page, start).ok()?;
        Some(page)
    };
    let count = u32::try_from(length / size as u64).ok()?;
    Some(Pages::new(read, size, count))
}

/// How a row of the log begins. SQLite stores the first column, which is the key, as nothing.
const BLOCK: [Type; 3] = [Type::Null, Type::Integer, Type::Integer];

/// The name of the copy of the damaged database.
const COPY: &str = "journal.db.damaged";
