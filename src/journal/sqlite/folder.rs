//! The folder of a journal: its files, their permissions, and the lock that excludes a second
//! process.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

use super::open_error::OpenError;
use crate::journal::dedup::any_segment;

/// Creates the folder if it does not exist, and syncs its parents: otherwise a power cut could
/// remove the folder with everything in it that was acknowledged.
pub(super) fn create(folder: &Path) -> std::io::Result<()> {
    let named = |path: &&Path| !path.as_os_str().is_empty();
    let new = folder.ancestors().filter(named);
    let new: Vec<&Path> = new.take_while(|path| !path.exists()).collect();
    std::fs::create_dir_all(folder)?;
    let above = new.iter().filter_map(|path| path.parent());
    { above }.try_for_each(|above| {
        let above = if named(&above) { above } else { Path::new(".") };
        match File::open(above).and_then(|above| above.sync_all()) {
            // The parent may be unreadable, or its file system may not support this sync.
            Err(error) if UNSYNCED.contains(&error.kind()) => Ok(()),
            synced => synced,
        }
    })
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

pub(super) const FILE: &str = "journal.db";
/// The folder of the dedup segments.
pub(super) const KEYS: &str = "claims";

/// The errors of a folder that cannot be synced.
const UNSYNCED: [ErrorKind; 3] = [
    ErrorKind::PermissionDenied,
    ErrorKind::InvalidInput,
    ErrorKind::Unsupported,
];
