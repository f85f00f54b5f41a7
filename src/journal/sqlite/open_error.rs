//! [`OpenError`]: why a journal cannot be opened.

use std::path::{Path, PathBuf};

use crate::journal::Seq;

/// Why a journal cannot be opened.
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
        "the journal ends with event {found}, and with {known} when it was written last: the file is not the same; stop offhook, and bring back the file that was there"
    )]
    Replaced { found: Seq, known: Seq },
    #[error(
        "the file system cannot keep a write-ahead log (journal_mode {0}), and without one a power cut could take back what was acknowledged; set journal.path to a local disk"
    )]
    NoWal(String),
    #[error("the database is another program's; set journal.path to a folder of offhook's own")]
    NotOurs,
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
