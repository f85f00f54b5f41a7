//! The journal's files, as the file system has them: whether they are still the ones that were opened, and
//! whether they are as long as they must be. [`HeadFile`] remembers beside them how far the log went.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
use rustix::fs::{AtFlags, CWD, StatxFlags};

use super::folder::{HEAD, OpenError};
use super::wal::WalScan;
use crate::journal::Seq;
use crate::journal::sum::Sum;

/// The files that a journal consists of while it is open, by what the system numbers them: the database, its
/// write-ahead log, and the index of that.
#[derive(Debug, Clone)]
pub(super) struct OpenFiles {
    paths: [PathBuf; 3],
    opened: [Option<Identity>; 3],
}

type Identity = (u64, u64);

/// Why the files are not those that were opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    Database,
    /// Only the write-ahead log. What was in it can still be copied into the database.
    Wal,
    /// Only its index, which SQLite makes again. Until then a new connection does not see the commits of others.
    Index,
}

impl OpenFiles {
    /// Remembers the files of the open database at `path`.
    pub(super) fn of(path: &Path) -> Self {
        let paths = ["", "-wal", "-shm"].map(|suffix| beside(path, suffix));
        let opened = paths.each_ref().map(|path| identity(path));
        Self { paths, opened }
    }

    /// Returns whether the names still lead to the files that were opened. Costs three system calls.
    pub(super) fn check(&self) -> Result<(), Gone> {
        let found = self.paths.iter().map(|path| identity(path));
        let mut changed = found
            .zip(&self.opened)
            .map(|(found, opened)| found != *opened);
        match changed.position(|changed| changed) {
            None => Ok(()),
            Some(0) => Err(Gone::Database),
            Some(1) => Err(Gone::Wal),
            Some(_) => Err(Gone::Index),
        }
    }

    /// As [`OpenFiles::check`], before they are opened again: SQLite makes a log that does not exist, which is
    /// right only if the one before is in the database.
    pub(super) fn may_open(&self, is_wal_saved: bool) -> Result<(), Gone> {
        match self.check() {
            Err(Gone::Wal) if is_wal_saved && identity(&self.paths[1]).is_none() => Ok(()),
            Err(Gone::Index) => Ok(()),
            checked => checked,
        }
    }

    /// Takes the log that is there now for the journal's, with its index: it was made by a try to open the journal
    /// again, while [`OpenFiles::may_open`] allowed that.
    pub(super) fn take_new_log(&mut self) {
        for index in [1, 2] {
            self.opened[index] = identity(&self.paths[index]);
        }
    }

    /// What happened, for the log.
    pub(super) fn tell(&self, gone: Gone) -> String {
        let (file, next) = match gone {
            Gone::Database => (
                &self.paths[0],
                "nothing is acknowledged until the same file is back; if it cannot be brought back, stop \
                 offhook and restore a backup",
            ),
            Gone::Wal => (
                &self.paths[1],
                "offhook copies what it held into journal.db and begins another one; until then, and while \
                 another file has its name, nothing is acknowledged",
            ),
            Gone::Index => (&self.paths[2], "offhook opens the journal again"),
        };
        let file = file.display();
        format!("{file} was removed or replaced while offhook has it open; {next}")
    }
}

/// Asks for no times: after a question for the time of the last write Linux notes the next write with a new one, and
/// each commit would have to write the inode of the log too.
fn identity(path: &Path) -> Option<Identity> {
    #[cfg(target_os = "linux")]
    if let Ok(found) = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::INO) {
        let device = rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor);
        return Some((device, found.stx_ino));
    }
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

pub(super) fn wal_of(database: &Path) -> PathBuf {
    beside(database, "-wal")
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Checks that the database at `path` has all its pages, without changing a file. `wal` is its log.
pub(super) fn check_length(path: &Path, wal: &WalScan) -> Result<(), OpenError> {
    let io = |error| OpenError::io(path, error);
    let mut header = [0; 100];
    let mut file = File::open(path).map_err(io)?;
    let length = file.seek(io::SeekFrom::End(0)).map_err(io)?;
    if length == 0 {
        return Ok(());
    }
    file.rewind().map_err(io)?;
    if file.read_exact(&mut header).is_err() || header[..16] != *b"SQLite format 3\0" {
        // Another kind of file: SQLite says which.
        return Ok(());
    }
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        page => u64::from(page),
    };
    let counted = u32::from_be_bytes([header[28], header[29], header[30], header[31]]);
    // Whole pages only; in the file, behind it in the log, and none behind the end.
    let in_file = length / page.max(1);
    let never_written = LOCK_BYTE / page.max(1) + 1;
    let is_there = |number| number == never_written || wal.used.contains(&(number as u32));
    let is_whole = match wal.pages {
        Some(pages) => (in_file + 1..=pages.into()).all(is_there),
        None => u64::from(counted) * page == length,
    };
    let pages = u64::from(wal.pages.unwrap_or(counted));
    if is_whole {
        Ok(())
    } else {
        let why = format!("it has {in_file} pages in place of {pages}");
        Err(OpenError::Damaged(why))
    }
}

/// A file with the number of the newest body, so that a journal that ends earlier is noticed. It is written
/// after each commit and not synced: it must outlive this process, and the log's own sync is what counts.
#[derive(Debug)]
pub(super) struct HeadFile {
    file: File,
    written: Seq,
}

impl HeadFile {
    /// Opens the file in `folder`, and creates it if there is none.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(0o600).open(folder.join(HEAD))?;
        let mut bytes = [0; 12];
        let written = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => decode(bytes),
            Err(_) => None,
        };
        Ok(Self {
            file,
            written: written.unwrap_or(0),
        })
    }

    /// Returns the newest body that is known; 0 if none is.
    pub(super) fn known(&self) -> Seq {
        self.written
    }

    /// Writes the number of the newest body, which is durable. If that fails, less is known after a damage.
    pub(super) fn note(&mut self, head: Seq) {
        if head != self.written && self.file.write_all_at(&encode(head), 0).is_ok() {
            self.written = head;
        }
    }
}

/// Returns the newest body that the file in `folder` knows of, and makes no file; 0 if there is none.
pub(super) fn known_head(folder: &Path) -> Seq {
    let bytes = std::fs::read(folder.join(HEAD)).ok();
    let bytes = bytes.and_then(|bytes| bytes.first_chunk().copied());
    bytes.and_then(decode).unwrap_or(0)
}

fn encode(head: Seq) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&head.to_le_bytes());
    bytes[8..].copy_from_slice(&Sum::of(HEAD).number(head).end().to_le_bytes());
    bytes
}

fn decode(bytes: [u8; 12]) -> Option<Seq> {
    let (head, _) = bytes.split_first_chunk()?;
    let head = u64::from_le_bytes(*head);
    (encode(head) == bytes).then_some(head)
}

/// SQLite locks bytes from here on, so it never writes the page that holds them, neither to the file nor to the
/// log.
const LOCK_BYTE: u64 = 0x4000_0000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::TestFolder;

    /// A file of so many pages, which takes no space on the disk.
    fn database(folder: &TestFolder, page: u16, pages: u64) -> PathBuf {
        let path = folder.path().join("journal.db");
        let mut header = [0; 100];
        header[..16].copy_from_slice(b"SQLite format 3\0");
        header[16..18].copy_from_slice(&page.to_be_bytes());
        let file = File::create(&path).unwrap();
        file.write_all_at(&header, 0).unwrap();
        file.set_len(pages * u64::from(page)).unwrap();
        path
    }

    #[test]
    fn the_page_of_the_locks_is_never_there() {
        for page in [4096, 16_384] {
            let lock = (LOCK_BYTE / u64::from(page) + 1) as u32;
            let scan = |used: &[u32]| WalScan {
                pages: Some(lock + 2),
                used: used.iter().copied().collect(),
                behind: None,
            };
            let folder = TestFolder::new();
            let path = database(&folder, page, u64::from(lock) - 2);
            let beside = [lock - 1, lock + 1, lock + 2];
            check_length(&path, &scan(&beside)).unwrap();
            for missing in beside {
                let mut wal = scan(&beside);
                wal.used.remove(&missing);
                let error = check_length(&path, &wal).unwrap_err();
                assert!(matches!(error, OpenError::Damaged(_)), "{error}");
            }
        }
    }
}
