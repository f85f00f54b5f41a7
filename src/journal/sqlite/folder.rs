//! The folder of a journal: its files, their permissions, the lock that excludes a second process,
//! and [`OpenError`], why a journal cannot be opened.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::journal::Seq;
use crate::journal::dedup::any_segment;

/// Creates the folder if it does not exist, and syncs its parents: otherwise a power cut could remove the
/// folder with everything in it that was acknowledged. One that holds nothing but a journal is for its owner
/// only, and has a `.gitignore`.
pub(super) fn create(folder: &Path) -> std::io::Result<()> {
    let named = |path: &&Path| !path.as_os_str().is_empty();
    let new = folder.ancestors().filter(named);
    let new: Vec<&Path> = new.take_while(|path| !path.exists()).collect();
    if !new.is_empty() {
        if let Some(parent) = folder.parent().filter(named) {
            std::fs::create_dir_all(parent)?;
        }
        DirBuilder::new().mode(0o700).create(folder)?;
    }
    if !new.is_empty() || has_only_ours(folder)? {
        make_private(folder);
        // A journal is never to be checked in. Nothing depends on this file.
        let ignored = folder.join(".gitignore");
        if !ignored.exists() {
            let _ = open_private(&ignored).and_then(|mut file| file.write_all(b"*\n"));
        }
    }
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
    let beside = ["journal.db-wal", "index.db", HEAD].map(|name| folder.join(name));
    let beside = beside.into_iter().find(|path| has_bytes(path));
    match beside.or_else(|| any_segment(&folder.join(KEYS))) {
        Some(beside) => Err(OpenError::Missing {
            file: database.to_owned(),
            beside,
        }),
        None => Ok(()),
    }
}

/// Whether everything in a folder is a journal's.
fn has_only_ours(folder: &Path) -> std::io::Result<bool> {
    for file in std::fs::read_dir(folder)? {
        let name = file?.file_name();
        let is_ours = name.to_str().is_some_and(|name| {
            let of_database = ["journal.db", "index.db"].iter();
            let mut ends = of_database.filter_map(|database| name.strip_prefix(database));
            ends.any(|end| ["", "-wal", "-shm"].contains(&end))
                || ["lock", KEYS, HEAD, ".gitignore"].contains(&name)
        });
        if !is_ours {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes a folder's or a file's permissions from others, where they have any: older versions gave them some.
/// What belongs to another user stays as it is.
fn make_private(path: &Path) {
    if let Ok(metadata) = std::fs::metadata(path)
        && metadata.permissions().mode() & 0o077 != 0
    {
        let mode = metadata.permissions().mode() & 0o700;
        let _ = std::fs::set_permissions(path, Permissions::from_mode(mode));
    }
}

/// Takes the permissions of everything in the folder from others.
pub(super) fn make_files_private(folder: &Path) {
    for name in ["journal.db", "index.db"] {
        for suffix in ["", "-wal", "-shm"] {
            make_private(&folder.join(format!("{name}{suffix}")));
        }
    }
    make_private(&folder.join(HEAD));
    let keys = folder.join(KEYS);
    make_private(&keys);
    let segments = std::fs::read_dir(keys).into_iter().flatten().flatten();
    segments.for_each(|file| make_private(&file.path()));
}

/// Creates the database, readable by its owner only, if it does not exist: it holds all messages
/// and the subscribers' secrets. SQLite gives its other files the same permissions.
pub(crate) fn create_private(database: &Path) -> std::io::Result<()> {
    open_private(database).map(drop)
}

/// Opens a file to append to, and creates it for its owner only.
fn open_private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).open(path)
}

/// Creates a folder that holds nothing but an index, and locks it for this process, as long as the file is open.
///
/// # Errors
///
/// If another process has it, or it cannot be created.
#[cfg(feature = "postgres")]
pub(crate) fn own_folder(folder: &Path) -> Result<File, OpenError> {
    create(folder).map_err(|error| OpenError::io(folder, error))?;
    lock(folder)
}

/// Ensures that only one process has the journal open.
pub(super) fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join("lock");
    let file = open_private(&path).map_err(|error| OpenError::io(&path, error))?;
    // One of an older version could be opened by everybody. Another owner's stays as it is.
    let _ = file.set_permissions(Permissions::from_mode(0o600));
    match lock_alone(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(OpenError::io(&path, error)),
    }
}

/// Locks a file that no other process has locked. One that only reads the journal has it for a moment, which
/// is waited for.
#[expect(
    clippy::disallowed_methods,
    reason = "a start blocks anyway, and serves nothing yet"
)]
pub(super) fn lock_alone(file: &File) -> Result<(), TryLockError> {
    for _ in 0..LOCK_PAUSES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if file.try_lock_shared().is_ok() => {
                let _ = file.unlock();
                std::thread::sleep(LOCK_PAUSE);
            }
            locked => return locked,
        }
    }
    file.try_lock()
}

/// Keeps other processes from opening the journal while the returned files are open, and changes nothing. Where
/// there is nothing to lock there are none.
pub(super) fn hold(folder: &Path) -> Result<Vec<File>, OpenError> {
    // A server locks the database too, see `Readers::lock`: it may be the only lock that is left.
    let names = if cfg!(target_os = "linux") {
        &["lock", FILE][..]
    } else {
        &["lock"]
    };
    let mut held = Vec::new();
    for name in names {
        let path = folder.join(name);
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            file => file.map_err(|error| OpenError::io(&path, error))?,
        };
        match file.try_lock_shared() {
            Ok(()) => held.push(file),
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(folder.to_owned())),
            // The file system has no locks.
            Err(TryLockError::Error(_)) => {}
        }
    }
    Ok(held)
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
        "the journal is of version 1, and this offhook opens versions 2 to 6; open it once with offhook of commit 24777ad, which migrates it, and then with this one"
    )]
    Older,
    #[error(
        "the journal is of version {found}, and this offhook knows versions up to {known}; use the newer offhook"
    )]
    Newer { found: i64, known: i64 },
    #[error(
        "the journal is damaged ({0}): nothing was changed; `offhook journal verify` lists what is damaged, and `offhook journal salvage DEST` saves what can be read into a new folder; or restore a backup"
    )]
    Damaged(String),
    #[error("{path}: {error}{}", hint(error))]
    Io {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("the journal's database: {0}")]
    Database(rusqlite::Error),
}

/// What to do about an error of the system.
fn hint(error: &std::io::Error) -> &'static str {
    use ErrorKind::{
        AlreadyExists, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem, StorageFull,
    };
    match error.kind() {
        AlreadyExists | NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem => {
            "; journal.path must be a folder that this user can make or write to"
        }
        StorageFull => "; make room, or set journal.path to another disk",
        _ => "",
    }
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
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged(error.to_string()),
            _ => Self::Database(error),
        }
    }
}

pub(super) const FILE: &str = "journal.db";
/// The folder of the dedup segments.
pub(super) const KEYS: &str = "claims";

/// The file with the number of the newest body.
pub(super) const HEAD: &str = "head";

/// How often, and how long each time, a start waits for a process that only reads.
const LOCK_PAUSES: usize = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The errors of a folder that cannot be synced.
const UNSYNCED: [ErrorKind; 3] = [
    ErrorKind::PermissionDenied,
    ErrorKind::InvalidInput,
    ErrorKind::Unsupported,
];
