//! [`verify`]: reads everything that a journal has, and says what is damaged.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use super::backup::read_only_uri;
use super::files::{check_length, known_head, wal_of};
use super::folder::{self, FILE, KEYS, OpenError};
use super::partial::FilesError;
use super::tables::Table;
use super::wal::WalScan;
use super::walk::{self, Piece, Walk, is_damage};
use super::{reading, rows, schema, store};
use crate::EventId;
use crate::journal::Seq;
use crate::journal::dedup::{check_segment, segments_up_to};

/// What was found in a journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// How many bodies can be read, without those that were deleted. Nearly every body is one event.
    pub events: u64,
    /// The number of the newest body.
    pub newest: Seq,
    /// How many bytes of the database are in use.
    pub bytes: u64,
    /// What is damaged, at most 10,000 things.
    pub damaged: Vec<Finding>,
    /// How many more things are damaged.
    pub unlisted: usize,
    /// The first and the last number of bodies that were lost before, at most 10,000 pairs: a start has found that
    /// they are missing, or [`salvage`](super::salvage) could not save them, and has noted that in the journal.
    pub lost: Vec<(Seq, Seq)>,
}

impl Verified {
    /// Returns whether nothing is damaged. What was lost before, and noted, does not count.
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty()
    }
}

/// Something that is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The first and the last number of the bodies that are concerned.
    pub events: Option<(Seq, Seq)>,
    /// The id of a body, where it can still be read.
    pub id: Option<EventId>,
    /// What it is, for the reader.
    pub text: String,
}

/// Reads all of the journal in `folder`: SQLite's own check, the checksum of every body and every row,
/// whether numbers are missing, and the dedup segments. Changes nothing of it. The server may run; while SQLite
/// checks its pages, the write-ahead log cannot begin again.
///
/// ```no_run
/// # fn main() -> Result<(), offhook::journal::FilesError> {
/// for finding in offhook::journal::verify("data".as_ref())?.damaged {
///     println!("{}", finding.text);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// When there is no journal, when it is of an unknown version, or when a file cannot be read at all. Damage
/// is no error.
pub fn verify(folder: &Path) -> Result<Verified, FilesError> {
    let is_open = || folder::hold(folder).is_err_and(|error| matches!(error, OpenError::InUse(_)));
    let was_open = is_open();
    let found = verify_once(folder, was_open)?;
    if !found.is_whole() && !was_open && is_open() {
        // A server was started meanwhile, and has changed what was being read.
        return verify_once(folder, true);
    }
    Ok(found)
}

fn verify_once(folder: &Path, is_open: bool) -> Result<Verified, FilesError> {
    let path = folder.join(FILE);
    if !std::fs::metadata(&path).is_ok_and(|file| file.len() > 0) {
        return Err(FilesError::NoJournal(folder.to_owned()));
    }
    let mut report = Report::default();
    // A server that runs has checked them at its start, and writes them now.
    if !is_open {
        report.files(&path)?;
    }
    let known = known_head(folder);
    let opened = open(&path, is_open).and_then(|database| {
        schema::check(&database)?;
        Ok(database)
    });
    match opened {
        Ok(database) => {
            let read = report.read(&database, known);
            read.map_err(|error| FilesError::database(folder, &error))?;
        }
        Err(OpenError::Damaged(error)) => report.other(format!("{FILE}: {error}")),
        Err(error) => return Err(FilesError::unknown(folder, &error)),
    }
    report.segments(&folder.join(KEYS));
    Ok(report.found)
}

/// Opens the database at `path` to read it. Without a server, and without a write-ahead log, SQLite makes no
/// file beside it and takes no lock.
fn open(path: &Path, is_open: bool) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let has_wal = std::fs::metadata(wal_of(path)).is_ok_and(|file| file.len() > 0);
    let mut uri = read_only_uri(path);
    if !is_open && !has_wal {
        uri += "&immutable=1";
    }
    let database = Connection::open_with_flags(uri, flags)?;
    database.busy_timeout(Duration::from_secs(10))?;
    // Otherwise nothing can be read of a file that was cut off.
    database.pragma_update(None, "writable_schema", true)?;
    Ok(database)
}

#[derive(Default)]
struct Report {
    found: Verified,
}

impl Report {
    fn add(&mut self, finding: Finding) {
        if self.found.damaged.len() < MOST {
            self.found.damaged.push(finding);
        } else {
            self.found.unlisted += 1;
        }
    }

    fn other(&mut self, text: String) {
        self.add(Finding {
            events: None,
            id: None,
            text,
        });
    }

    fn bodies(&mut self, first: Seq, last: Seq, id: Option<EventId>, what: &str) {
        let numbers = numbers(first, last);
        let named = id.map_or(String::new(), |id| format!(" ({id})"));
        self.add(Finding {
            events: Some((first, last)),
            id,
            text: format!("{numbers}{named}: {what}"),
        });
    }

    /// Checks the files as such, which SQLite does without a word.
    fn files(&mut self, path: &Path) -> Result<(), FilesError> {
        let wal = WalScan::of(&wal_of(path)).map_err(FilesError::io(path))?;
        if let Some(behind) = &wal.behind {
            self.other(format!(
                "{FILE}-wal: damaged at byte {}: {} pages of {} transactions behind that are not used",
                behind.at, behind.frames, behind.commits
            ));
        }
        match check_length(path, &wal) {
            Err(OpenError::Damaged(error)) => self.other(format!("{FILE}: {error}")),
            Err(OpenError::Io { path, error }) => return Err(FilesError::Io { path, error }),
            _ => {}
        }
        Ok(())
    }

    fn read(&mut self, database: &Connection, known: Seq) -> rusqlite::Result<()> {
        self.structure(database)?;
        self.log(database, known)?;
        self.tables(database)?;
        self.found.bytes = store::bytes(database).unwrap_or(0);
        Ok(())
    }

    /// Lets SQLite check its pages.
    fn structure(&mut self, database: &Connection) -> rusqlite::Result<()> {
        let mut check = || {
            let mut statement = database.prepare("PRAGMA integrity_check(100)")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let text: String = row.get(0)?;
                if text != "ok" {
                    self.other(format!("{FILE}: {}", text.replace('\n', "; ")));
                }
            }
            Ok(())
        };
        match check() {
            Err(error) if is_damage(&error) => {
                self.other(format!("{FILE}: {error}"));
                Ok(())
            }
            checked => checked,
        }
    }

    /// Reads all bodies, and the dedup keys beside them.
    fn log(&mut self, database: &Connection, known: Seq) -> rusqlite::Result<()> {
        let columns = walk::columns(database).unwrap_or_default();
        // Up to which body retention has removed the log. An older version does not say.
        let trimmed = || rows::counter(database, rows::TRIMMED).ok().flatten();
        let lost = rows::counter(database, rows::LOST).ok().flatten();
        let known = known.max(lost.unwrap_or(0));
        let mut at = trimmed();
        let mut walk = Walk::new(database, at.unwrap_or(0), known);
        let mut gaps: Vec<(Seq, Seq, &str)> = Vec::new();
        while let Some(piece) = walk.next()? {
            match piece {
                Piece::Unreadable { first, last } => {
                    gaps.push((first, last, UNREADABLE));
                    at = Some(last);
                }
                Piece::EndUnreadable { after } => {
                    self.other(format!("{FILE}: events after {after} cannot be read"));
                }
                Piece::Block {
                    first,
                    last,
                    values,
                } => {
                    match at {
                        Some(at) if first > at + 1 => gaps.push((at + 1, first - 1, "missing")),
                        Some(at) if first <= at => {
                            self.bodies(first, at.min(last), None, "stored twice");
                        }
                        _ => {}
                    }
                    at = Some(last);
                    self.block(first, last, &columns, &values);
                }
            }
        }
        let newest = at.unwrap_or(0);
        if known > newest {
            gaps.push((newest + 1, known, "missing at the end"));
        }
        self.found.newest = newest.max(known);
        // Retention may have removed them meanwhile.
        let oldest = reading::trimmed(database).unwrap_or(0) + 1;
        let noted = rows::noted_losses(database).unwrap_or_default();
        for (first, last, what) in gaps.into_iter().filter(|(_, last, _)| *last >= oldest) {
            self.gap(first.max(oldest), last, what, &noted);
        }
        Ok(())
    }

    /// Reports the bodies of a gap that are not noted as lost.
    fn gap(&mut self, first: Seq, last: Seq, what: &str, noted: &[(Seq, Seq)]) {
        let mut from = first;
        for (lost, until) in noted {
            let (lost, until) = (from.max(*lost), last.min(*until));
            if lost > until {
                continue;
            }
            if lost > from {
                self.bodies(from, lost - 1, None, what);
            }
            if self.found.lost.len() < MOST {
                self.found.lost.push((lost, until));
            }
            from = until + 1;
        }
        if from <= last {
            self.bodies(from, last, None, what);
        }
    }

    fn block(&mut self, first: Seq, last: Seq, columns: &[String], values: &[Value]) {
        let Some(block) = walk::block(columns, values) else {
            return self.bodies(first, last, None, UNREADABLE);
        };
        if block.entries().is_none() {
            let what = "their dedup keys cannot be read; what is sent again is handed over again";
            self.bodies(first, last, None, what);
        }
        for (seq, record) in walk::records(&block) {
            match record {
                Ok(record) => self.found.events += u64::from(record.missing.is_none()),
                Err(id) => self.bodies(seq, seq, id, "not what was written"),
            }
        }
    }

    /// Reads the rows of all other tables.
    fn tables(&mut self, database: &Connection) -> rusqlite::Result<()> {
        let tables = match Table::all(database) {
            Err(error) if is_damage(&error) => {
                self.other(format!("{FILE}: its tables cannot be found: {error}"));
                return Ok(());
            }
            tables => tables?,
        };
        for table in tables {
            let mut damaged = Vec::new();
            let is_complete = table.read(database, |row| {
                if !table.is_whole(row) {
                    damaged.push(table.name_of(row));
                }
                Ok(())
            })?;
            for row in damaged {
                self.other(format!("{FILE}: {row} is not what was written"));
            }
            if !is_complete {
                self.other(format!(
                    "{FILE}: some rows of {} cannot be read",
                    table.name
                ));
            }
        }
        Ok(())
    }

    /// Reads the dedup segments. One that is gone has expired meanwhile.
    fn segments(&mut self, folder: &Path) {
        let is_gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        match segments_up_to(folder, Seq::MAX) {
            Err(error) if is_gone(&error) => {}
            Err(error) => self.other(error.to_string()),
            Ok(segments) => {
                for path in segments {
                    if let Err(error) = check_segment(&path)
                        && !is_gone(&error)
                    {
                        self.other(error.to_string());
                    }
                }
            }
        }
    }
}

/// Bodies by their numbers, as text.
fn numbers(first: Seq, last: Seq) -> String {
    match last - first {
        0 => format!("event {first}"),
        _ => format!("events {first} to {last}"),
    }
}

const UNREADABLE: &str = "cannot be read";

/// The most findings that are listed.
const MOST: usize = 10_000;
