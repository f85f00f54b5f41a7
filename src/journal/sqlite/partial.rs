//! [`Partial`]: the folder of a journal that is being written as a whole. It gets its name when it is complete
//! and on the disk; before that it is called `NAME.partial`, and no offhook opens what is in it.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::folder::{FILE, KEYS, OpenError};

/// Why the files of a journal cannot be copied, checked or saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// There is no journal in this folder.
    #[error("{}: there is no journal, because {FILE} is missing or empty; journal.path says where it is", .0.display())]
    NoJournal(PathBuf),
    /// The place for the new journal is taken.
    #[error("{} exists already; give the name of a new folder, or of an empty one", .0.display())]
    Occupied(PathBuf),
    /// Another process writes to the same place.
    #[error("{}: another offhook is writing there", .0.display())]
    InProgress(PathBuf),
    /// A server has the journal open.
    #[error("{}: a running offhook has this journal open; stop it first", .0.display())]
    InUse(PathBuf),
    /// There is no room for the new journal.
    #[error("{}: there is no room on that file system: {needed} bytes are needed, and {free} are free", to.display())]
    NoRoom {
        /// Where it was to be.
        to: PathBuf,
        /// How many bytes it takes, about.
        needed: u64,
        /// How many bytes are free.
        free: u64,
    },
    /// The journal is damaged.
    #[error(
        "{}: the journal is damaged ({error}); `offhook journal verify` says what, and `offhook journal salvage` saves what can be read", folder.display()
    )]
    Damaged {
        /// The journal's folder.
        folder: PathBuf,
        /// What was found.
        error: String,
    },
    /// Nothing of a journal can be read.
    #[error("{}: nothing in {FILE} can be read as a journal; nothing was written", .0.display())]
    Nothing(PathBuf),
    /// The new folder would be inside the old one, which must not be changed.
    #[error("{} is inside the damaged journal's folder, which is not to be changed; name another place", .0.display())]
    Inside(PathBuf),
    /// The journal is of another version, or another program's.
    #[error("{}: {error}", folder.display())]
    Unknown {
        /// The journal's folder.
        folder: PathBuf,
        /// What was found.
        error: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// A database cannot be read or written.
    #[error("{}: {error}", path.display())]
    Database {
        /// The folder of the database.
        path: PathBuf,
        /// SQLite's error.
        error: String,
    },
}

impl FilesError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { path, error }
    }

    pub(super) fn database(path: &Path, error: &rusqlite::Error) -> Self {
        let text = match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => "the disk is full".to_owned(),
            _ => error.to_string(),
        };
        Self::Database {
            path: path.to_owned(),
            error: text,
        }
    }

    pub(super) fn unknown(folder: &Path, error: &OpenError) -> Self {
        match error {
            OpenError::Database(error) => Self::database(folder, error),
            error => Self::Unknown {
                folder: folder.to_owned(),
                error: error.to_string(),
            },
        }
    }
}

/// A folder that has not got its name yet. It is removed if it is dropped before [`Partial::finish`].
#[derive(Debug)]
pub(super) struct Partial {
    to: PathBuf,
    path: PathBuf,
    /// Locked, so that no other process takes it for one that was left behind.
    _lock: File,
    is_finished: bool,
}

impl Partial {
    /// Creates an empty folder that is to become `to`. Replaces one that an interrupted process has left.
    pub(super) fn create(to: &Path) -> Result<Self, FilesError> {
        let occupied = || FilesError::Occupied(to.to_owned());
        if is_taken(to) {
            return Err(occupied());
        }
        let name = to.file_name().ok_or_else(occupied)?;
        let mut partial = name.to_owned();
        partial.push(".partial");
        let (parent, path) = (parent(to), to.with_file_name(partial));
        create_all(parent).map_err(FilesError::io(parent))?;
        let io = || FilesError::io(&path);
        if path.exists() {
            let _lock = lock(&path)?;
            if !is_ours(&path).map_err(io())? {
                return Err(FilesError::Occupied(path));
            }
            std::fs::remove_dir_all(&path).map_err(io())?;
        }
        let mut builder = DirBuilder::new();
        builder.mode(0o700).create(&path).map_err(io())?;
        Ok(Self {
            to: to.to_owned(),
            _lock: lock(&path)?,
            path,
            is_finished: false,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses to begin where there is no room for so many bytes.
    pub(super) fn has_room(&self, needed: u64) -> Result<(), FilesError> {
        let Ok(found) = rustix::fs::statvfs(&self.path) else {
            // The writes will tell.
            return Ok(());
        };
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        if free < needed {
            let to = self.to.clone();
            return Err(FilesError::NoRoom { to, needed, free });
        }
        Ok(())
    }

    /// Gives the folder its name. Its files must be synced.
    pub(super) fn finish(mut self) -> Result<(), FilesError> {
        let keys = self.path.join(KEYS);
        for folder in [&keys, &self.path] {
            if folder.exists() {
                sync(folder).map_err(FilesError::io(folder))?;
            }
        }
        // Replaces an empty folder, and nothing else.
        std::fs::rename(&self.path, &self.to).map_err(FilesError::io(&self.to))?;
        self.is_finished = true;
        let parent = parent(&self.to);
        sync(parent).map_err(FilesError::io(parent))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_finished {
            // What cannot be removed is called partial, and is replaced by the next one.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Creates the folders of a path that do not exist, and syncs what they are in.
fn create_all(path: &Path) -> std::io::Result<()> {
    let new = path.ancestors().take_while(|path| !path.exists());
    let above: Vec<&Path> = new.map(parent).collect();
    std::fs::create_dir_all(path)?;
    // A file system may not be able to do that.
    above.into_iter().for_each(|path| drop(sync(path)));
    Ok(())
}

/// Whether there is anything but an empty folder.
fn is_taken(path: &Path) -> bool {
    match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

/// Whether a folder holds only what is written into one of these.
fn is_ours(path: &Path) -> std::io::Result<bool> {
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        let known = |name: &str| name == KEYS || name == "lock" || name.starts_with(FILE);
        if !name.to_str().is_some_and(known) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn lock(path: &Path) -> Result<File, FilesError> {
    let folder = File::open(path).map_err(FilesError::io(path))?;
    match folder.try_lock() {
        Err(TryLockError::WouldBlock) => Err(FilesError::InProgress(path.to_owned())),
        // Without locks on this file system, two of them are not told apart.
        _ => Ok(folder),
    }
}

fn sync(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

fn parent(path: &Path) -> &Path {
    let parent = path.parent().filter(|path| !path.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::TestFolder;

    #[test]
    fn only_a_finished_folder_has_its_name() {
        let folder = TestFolder::new();
        let (to, partial) = (folder.path().join("a/b"), folder.path().join("a/b.partial"));
        let begun = Partial::create(&to).unwrap();
        assert!(partial.exists() && !to.exists());
        let second = Partial::create(&to).unwrap_err();
        assert!(matches!(second, FilesError::InProgress(_)), "{second}");
        drop(begun);
        assert!(!partial.exists() && !to.exists());
        Partial::create(&to).unwrap().finish().unwrap();
        assert!(!partial.exists() && to.exists());
        // An empty folder is as good as none.
        Partial::create(&to).unwrap().finish().unwrap();
        std::fs::write(to.join("x"), "x").unwrap();
        let taken = Partial::create(&to).unwrap_err();
        assert!(matches!(taken, FilesError::Occupied(_)), "{taken}");
    }

    #[test]
    fn what_was_interrupted_is_replaced() {
        let folder = TestFolder::new();
        let to = folder.path().join("b");
        let begun = Partial::create(&to).unwrap();
        std::fs::write(begun.path().join(FILE), "half").unwrap();
        std::mem::forget(begun);
        // The lock is held by this process; a process that was killed has none.
        let left = folder.path().join("b.partial");
        std::fs::rename(&left, folder.path().join("c.partial")).unwrap();
        let copied = folder.path().join("c.partial");
        let builder = DirBuilder::new();
        builder.create(&left).unwrap();
        std::fs::rename(copied.join(FILE), left.join(FILE)).unwrap();
        let again = Partial::create(&to).unwrap();
        assert_eq!(std::fs::read_dir(again.path()).unwrap().count(), 0);
        drop(again);
        builder.create(&left).unwrap();
        std::fs::write(left.join("of someone else"), "x").unwrap();
        assert!(Partial::create(&to).is_err());
        assert!(left.join("of someone else").exists());
    }
}
