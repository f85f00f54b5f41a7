//! The folder of a journal: its files, their permissions, the lock that excludes a second process,
//! and [`OpenError`], why a journal cannot be opened.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::journal::Seq;
use crate::journal::dedup::any_segment;

/// Creates the folder if it does not exist, and syncs its parents: otherwise a power cut could
/// remove the folder with everything in it that was acknowledged.
pub(super) fn create(folder: &Path) -> std::io::Result<()> {
    let named = |path: &&Path| !path.as_os_str().is_empty();
    let new = folder.ancestors().filter(named);
    let new: Vec<&Path> = new.take_while(|path| !path.exists()).collect();
    std::fs::create_dir_all(folder)?;
    for above in new.iter().filter_map(|path| path.parent()) {
        let above = if named(&above) { above } else { Path::new(".") };
        match File::open(above).and_then(|above| above.sync_all()) {
            // The parent may be unreadable, or its file system may not support this sync.
            Err(error) if UNSYNCED.contains(&error.kind()) => {}
            synced => synced?,
        }
    }
    Ok(())
}

/// Refuses to create a journal next to the files of another one: that journal's file is missing,
/// with all its events.
pub(super) fn missing(folder: &Path, database: &Path) -> Result<(), OpenError> {
    let has_bytes = |path: &Path| std::fs::metadata(path).is_ok_and(|file| file.len() > 0);
    if has_bytes(database) {
        return Ok(());
    }
    let beside = ["journal.db-wal", "index.db"].map(|name| folder.join(name));
    let beside = beside.into_iter().find(|path| has_bytes(path));
    match beside.or_else(|| any_segment(&folder.join(KEYS))) {
        Some(beside) => Err(OpenError::Missing {
            file: database.to_owned(),
            beside,
        }),
        None => Ok(()),
    }
}

/// Creates the database, readable by its owner only, if it does not exist: it holds all messages
/// and the subscribers' secrets. SQLite gives its other files the same permissions.
pub(super) fn create_private(database: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(database).map(drop)
}

/// Ensures that only one process has the journal open.
pub(super) fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join("lock");
    let file = File::create(&path).map_err(|error| OpenError::io(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(OpenError::io(&path, error)),
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(
        "{0}: another offhook has this journal open; stop it, or set journal.path to another folder"
    )]
    InUse(PathBuf),
    #[error(
        "{file}: the journal is missing, but {beside} belongs to one; offhook does not start an empty journal in its place; restore {file} from a backup, or remove everything beside it to start an empty one"
    )]
    Missing { file: PathBuf, beside: PathBuf },
    #[error(
        "the journal ends with body number {found}, and ended with number {known} when it was written last: the file is not the same; stop offhook, and bring back the file that was there"
    )]
    Replaced { found: Seq, known: Seq },
    #[error(
        "the file system cannot keep a write-ahead log (journal_mode {0}), and without one a power cut could take back what was acknowledged; set journal.path to a local disk"
    )]
    NoWal(String),
    #[error("the database is another program's; set journal.path to a folder of offhook's own")]
    NotOurs,
    #[error(
        "the journal is of version 1, and this offhook opens versions 2 to 5; open it once with offhook of commit 24777ad, which migrates it, and then with this one"
    )]
    Older,
    #[error(
        "the journal is of version {found}, and this offhook knows versions up to {known}; use the newer offhook"
    )]
    Newer { found: i64, known: i64 },
    #[error(
        "the journal is damaged ({0}): nothing was changed; keep the folder, and restore it from a backup or set journal.path to a new one"
    )]
    Damaged(rusqlite::Error),
    #[error("{path}: {error}")]
    Io {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("the journal's database: {0}")]
    Database(rusqlite::Error),
}

impl OpenError {
    pub(super) fn io(path: &Path, error: std::io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            error,
        }
    }
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged(error),
            _ => Self::Database(error),
        }
    }
}

pub(super) const FILE: &str = "journal.db";
/// The folder of the dedup segments.
pub(super) const KEYS: &str = "claims";

/// The errors of a folder that cannot be synced.
const UNSYNCED: [ErrorKind; 3] = [
    ErrorKind::PermissionDenied,
    ErrorKind::InvalidInput,
    ErrorKind::Unsupported,
];
