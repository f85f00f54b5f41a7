//! [`backup`]: a copy of a journal, also of one that a running server writes to.
//!
//! SQLite's own ways to copy do not fit beside a server: the online backup begins again whenever another
//! process writes, and `VACUUM INTO` holds one read transaction from the beginning to the end, so that the
//! write-ahead log could not begin again meanwhile. But nearly all of a journal is in rows that do not change
//! once they are written. So these are copied in many short transactions, a few MB each, and one last
//! transaction takes what came meanwhile, what was changed or removed, and all small tables. That one is the
//! moment of the copy: everything in it is of the same commit.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};

use super::folder::{self, FILE, KEYS, OpenError};
use super::partial::{FilesError, Partial};
use super::{schema, store};
use crate::journal::Seq;
use crate::journal::dedup::segments_up_to;

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backup {
    /// How many bodies. Nearly every body is one event.
    pub events: u64,
    /// The number of the newest body.
    pub newest: Seq,
    /// The length of all its files in bytes.
    pub bytes: u64,
}

/// Copies the journal in `folder` to the new folder `to`, which can be a `journal.path` afterwards. The server
/// may run; its commits do not wait. The copy has every event that was acknowledged before the call, and the
/// progress of each consumer. It has no index, which is built again.
///
/// `to` appears when it is complete and on the disk. Only its owner can read it.
///
/// ```no_run
/// # fn main() -> Result<(), offhook::journal::FilesError> {
/// let copied = offhook::journal::backup("data".as_ref(), "/backups/monday".as_ref())?;
/// println!("{} events", copied.events);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// When there is no journal, when `to` is not empty, or when a file cannot be read or written. Then there is
/// no `to`.
pub fn backup(folder: &Path, to: &Path) -> Result<Backup, FilesError> {
    let source = folder.join(FILE);
    if !std::fs::metadata(&source).is_ok_and(|file| file.len() > 0) {
        return Err(FilesError::NoJournal(folder.to_owned()));
    }
    let partial = Partial::create(to)?;
    let copy = Copy::start(folder, partial.path())?;
    partial.has_room(copy.needed()?)?;
    let (events, newest) = copy.carry_out()?;
    let mut bytes = copy.finish()?;
    // After the events: what has left the log in between is in a segment by now.
    bytes += copy_segments(folder, partial.path(), newest)?;
    partial.finish()?;
    Ok(Backup {
        events,
        newest,
        bytes,
    })
}

/// A database that is filled from another one, which is attached as `source`.
struct Copy {
    database: Connection,
    /// To sync what was copied bit by bit, so that the server's commits do not wait for one long sync.
    file: File,
    from: PathBuf,
    to: PathBuf,
}

impl Copy {
    fn start(from: &Path, to: &Path) -> Result<Self, FilesError> {
        let path = to.join(FILE);
        folder::create_private(&path).map_err(FilesError::io(&path))?;
        let file = File::open(&path).map_err(FilesError::io(&path))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI;
        let database = Connection::open_with_flags(&path, flags);
        let copy = Self {
            database: database.map_err(|error| FilesError::database(to, &error))?,
            file,
            from: from.to_owned(),
            to: to.to_owned(),
        };
        copy.set_up().map_err(|error| copy.failure(error))?;
        Ok(copy)
    }

    /// Attaches the source, and creates its tables.
    fn set_up(&self) -> Result<(), OpenError> {
        let database = &self.database;
        database.pragma_update(None, "page_size", store::PAGE)?;
        // Until it is complete it has no version, so that no offhook opens it; a half one is removed.
        database.pragma_update(None, "journal_mode", "OFF")?;
        database.pragma_update(None, "synchronous", "OFF")?;
        database.busy_timeout(BUSY)?;
        let source = read_only_uri(&self.from.join(FILE));
        database.execute("ATTACH ? AS source", [source])?;
        schema::check_in(database, "source")?;
        let sql = "SELECT sql FROM source.sqlite_schema \
                   WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid";
        let mut statement = database.prepare(sql)?;
        let all = statement.query_map([], |row| row.get::<_, String>(0))?;
        for sql in all.collect::<rusqlite::Result<Vec<_>>>()? {
            database.execute_batch(&sql)?;
        }
        Ok(())
    }

    /// Estimates how many bytes the copy takes.
    fn needed(&self) -> Result<u64, FilesError> {
        let bytes = store::bytes_in(&self.database, "source");
        let bytes = bytes.map_err(|error| self.failure(error))?;
        let keys = self.from.join(KEYS);
        let files = std::fs::read_dir(keys).into_iter().flatten().flatten();
        let lengths = files.filter_map(|file| Some(file.metadata().ok()?.len()));
        Ok(bytes + lengths.sum::<u64>())
    }

    /// Copies everything. Returns how many bodies, and the number of the newest.
    fn carry_out(&self) -> Result<(u64, Seq), FilesError> {
        let mut copied = 0;
        for _ in 0..ROUNDS {
            // What comes while a round runs is for the next one, which is shorter.
            let newest = self.newest().map_err(|error| self.failure(error))?;
            let start = copied;
            while copied < newest {
                let copying = self.copy_some(copied);
                copied = copying.map_err(|error| self.failure(error))?;
                self.sync()?;
            }
            if copied - start < FEW {
                break;
            }
        }
        let finished = self.copy_rest(copied);
        let counts = finished.map_err(|error| self.failure(error))?;
        self.sync()?;
        Ok(counts)
    }

    fn newest(&self) -> rusqlite::Result<Seq> {
        let sql = "SELECT coalesce(max(last), 0) FROM source.blocks";
        self.database.query_row(sql, [], |row| row.get(0))
    }

    /// Copies the next blocks, about [`AT_ONCE`] bytes. Returns the last number.
    fn copy_some(&self, after: Seq) -> rusqlite::Result<Seq> {
        let end = {
            let sql = "SELECT last, length(claims) + length(events) FROM source.blocks \
                       WHERE last > ? ORDER BY last";
            let mut statement = self.database.prepare_cached(sql)?;
            let mut rows = statement.query([after])?;
            let (mut end, mut bytes) = (Seq::MAX >> 1, 0);
            while bytes < AT_ONCE
                && let Some(row) = rows.next()?
            {
                end = row.get(0)?;
                bytes += row.get::<_, u64>(1)?;
            }
            end
        };
        let sql =
            "INSERT INTO main.blocks SELECT * FROM source.blocks WHERE last > ? AND last <= ?";
        let mut statement = self.database.prepare_cached(sql)?;
        statement.execute(params![after, end])?;
        Ok(end)
    }

    /// Makes the copy as the source is at one moment.
    fn copy_rest(&self, copied: Seq) -> rusqlite::Result<(u64, Seq)> {
        let database = &self.database;
        database.execute_batch("BEGIN")?;
        // Retention has removed them meanwhile.
        let sql = "DELETE FROM main.blocks WHERE last NOT IN (SELECT last FROM source.blocks)";
        database.execute(sql, [])?;
        let changed = self.changed_blocks()?;
        let sql = format!(
            "INSERT OR REPLACE INTO main.blocks SELECT * FROM source.blocks WHERE last IN ({changed})"
        );
        database.execute(&sql, [])?;
        let sql = "INSERT INTO main.blocks SELECT * FROM source.blocks WHERE last > ?";
        database.execute(sql, [copied])?;
        for table in self.tables()?.iter().filter(|table| *table != "blocks") {
            let table = table.replace('"', "\"\"");
            let sql = format!("INSERT INTO main.\"{table}\" SELECT * FROM source.\"{table}\"");
            database.execute(&sql, [])?;
        }
        for name in ["application_id", "user_version"] {
            let value: i64 = database.pragma_query_value(Some("source"), name, |row| row.get(0))?;
            database.pragma_update(Some("main"), name, value)?;
        }
        let sql =
            "SELECT coalesce(sum(last - first + 1), 0), coalesce(max(last), 0) FROM main.blocks";
        let counts = database.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        database.execute_batch("COMMIT")?;
        Ok(counts)
    }

    /// Selects the blocks that were changed after they were copied: one that retention has cut, and those of
    /// deleted events. Compares all columns, of blobs the lengths, so that no blob is read.
    fn changed_blocks(&self) -> rusqlite::Result<String> {
        let sql = "SELECT name FROM pragma_table_info('blocks', 'source')";
        let mut statement = self.database.prepare(sql)?;
        let names = statement.query_map([], |row| row.get::<_, String>(0))?;
        let differs = |name: rusqlite::Result<String>| {
            let name = name?.replace('"', "\"\"");
            Ok(match &*name {
                "claims" | "events" => {
                    format!("length(old.\"{name}\") IS NOT length(new.\"{name}\")")
                }
                _ => format!("old.\"{name}\" IS NOT new.\"{name}\""),
            })
        };
        let differs = names.map(differs).collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(format!(
            "SELECT new.last FROM source.blocks AS new JOIN main.blocks AS old USING (last) WHERE {}",
            differs.join(" OR ")
        ))
    }

    fn tables(&self) -> rusqlite::Result<Vec<String>> {
        let sql = "SELECT name FROM main.sqlite_schema WHERE type = 'table'";
        let mut statement = self.database.prepare(sql)?;
        let names = statement.query_map([], |row| row.get(0))?;
        names.collect()
    }

    fn sync(&self) -> Result<(), FilesError> {
        self.file.sync_data().map_err(|error| self.io(error))
    }

    /// Closes the databases. Returns the length of the copy.
    fn finish(self) -> Result<u64, FilesError> {
        let closed = self.database.close();
        closed.map_err(|(_, error)| FilesError::database(&self.to, &error))?;
        let path = self.to.join(FILE);
        let synced = self.file.sync_all().and_then(|()| self.file.metadata());
        Ok(synced.map_err(FilesError::io(&path))?.len())
    }

    fn io(&self, error: std::io::Error) -> FilesError {
        FilesError::io(&self.to)(error)
    }

    /// Says what an error means, which is the source's if it is damage.
    fn failure(&self, error: impl Into<OpenError>) -> FilesError {
        let folder = self.from.clone();
        match error.into() {
            OpenError::Damaged(error) => FilesError::Damaged { folder, error },
            OpenError::Database(error) => FilesError::database(&self.to, &error),
            error => FilesError::unknown(&folder, &error),
        }
    }
}

/// Copies the dedup segments up to the newest body. Returns their bytes.
pub(super) fn copy_segments(from: &Path, to: &Path, newest: Seq) -> Result<u64, FilesError> {
    let keys = from.join(KEYS);
    let segments = match segments_up_to(&keys, newest) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        segments => segments.map_err(FilesError::io(&keys))?,
    };
    let to = to.join(KEYS);
    let mut builder = DirBuilder::new();
    builder
        .mode(0o700)
        .create(&to)
        .map_err(FilesError::io(&to))?;
    let mut bytes = 0;
    for path in segments {
        let Some(name) = path.file_name() else {
            continue;
        };
        let copied = copy_file(&path, &to.join(name));
        bytes += copied.map_err(FilesError::io(&path))?;
    }
    Ok(bytes)
}

/// Copies a file, readable by its owner only. One that is gone has expired meanwhile.
fn copy_file(from: &Path, to: &Path) -> std::io::Result<u64> {
    let mut from = match File::open(from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        opened => opened?,
    };
    let mut options = File::options();
    let mut file = options.write(true).create_new(true).mode(0o600).open(to)?;
    let bytes = std::io::copy(&mut from, &mut file)?;
    file.sync_all()?;
    Ok(bytes)
}

/// Returns the URI by which SQLite only reads a file.
pub(super) fn read_only_uri(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let path = percent_encoding::percent_encode(path.as_os_str().as_bytes(), URI);
    format!("file:{path}?mode=ro")
}

/// What a path may have as it is.
const URI: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'/');

/// How many bytes of blocks one transaction copies. It takes a few milliseconds, which bounds how long the
/// write-ahead log waits for it.
const AT_ONCE: u64 = 4 * 1024 * 1024;

/// With so few bodies the last transaction is short.
const FEW: u64 = 4096;

/// How often the copy tries to catch up with the server before the last transaction.
const ROUNDS: usize = 16;

const BUSY: std::time::Duration = std::time::Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Timestamp;
    use crate::clock::FakeClock;
    use crate::journal::contract::{new, numbered, seqs, trim_all};
    use crate::journal::sqlite::Sqlite;
    use crate::journal::{Log as _, TestFolder};
    use crate::telemetry::JournalMetrics;

    /// Retention removes and cuts, a block is rewritten, and more is written, between two steps.
    #[tokio::test]
    async fn what_changes_meanwhile_is_as_at_the_end() {
        let folder = TestFolder::new();
        let (from, to) = (folder.path().join("data"), folder.path().join("copy"));
        let clock = Arc::new(FakeClock::new(Timestamp::UNIX_EPOCH));
        let journal = Sqlite::open(&from, JournalMetrics::unrecorded(), clock.clone()).unwrap();
        for start in [0, 20, 40] {
            let more = (start..start + 20).map(|number| journal.append(numbered(number)));
            futures_util::future::join_all(more).await;
        }
        std::fs::create_dir(&to).unwrap();
        let copy = Copy::start(&from, &to).unwrap();
        let copied = copy.copy_some(0).unwrap();
        assert_eq!(copied, 60);
        assert_eq!(trim_all(&journal, 30).await, 30);
        let other = Connection::open(from.join(FILE)).unwrap();
        let sql = "UPDATE blocks SET kept_at = 77 WHERE last = (SELECT max(last) FROM blocks)";
        other.execute(sql, []).unwrap();
        new(&journal, numbered(60)).await;
        assert_eq!(copy.copy_rest(copied).unwrap(), (31, 61));
        let sql =
            "SELECT count(*) FROM (SELECT * FROM main.blocks EXCEPT SELECT * FROM source.blocks)";
        let different: u64 = copy.database.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(different, 0);
        copy.finish().unwrap();
        drop((other, journal));
        let copy = Sqlite::open(&to, JournalMetrics::unrecorded(), clock).unwrap();
        assert_eq!(seqs(&copy, 0, 100).await, (31..=61).collect::<Vec<_>>());
    }

    #[test]
    fn a_path_is_a_uri() {
        let uri = read_only_uri(Path::new("/a b/ü?#%&.db"));
        assert_eq!(uri, "file:/a%20b/%C3%BC%3F%23%25%26%2Edb?mode=ro");
    }
}
