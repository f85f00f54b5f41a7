//! The engine `sqlite`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::super::kinds::{duration, duration_or_none, file_path, size, some, write_path};
use super::super::spot::keys;

/// Settings of the engine `sqlite`.
///
/// ```
/// use offhook::settings::{JournalSettings, SqliteSettings};
///
/// let mut sqlite = SqliteSettings::new("/var/lib/offhook");
/// sqlite.retention_size = Some(10 * 1024 * 1024 * 1024);
/// let journal = JournalSettings::Sqlite(sqlite);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SqliteSettings {
    /// The folder of the journal. Default: `data`.
    #[serde(serialize_with = "write_path")]
    pub path: PathBuf,
    /// How long events are retained. Default: 7 days.
    pub retention: Duration,
    /// The limit for the journal's database and its write-ahead log on the disk, in bytes: the oldest events are
    /// removed. Default: no limit.
    pub retention_size: Option<u64>,
    /// The dedup window: how long another event with the same id is a duplicate; 0 for never. Default: 7
    /// days.
    pub dedup_window: Duration,
    /// The same for events without an id, which are compared by their bytes. Default: 60 s.
    pub dedup_window_unkeyed: Duration,
}

keys!(SqliteSettings {
    path: file_path,
    retention: duration,
    retention_size: some(size),
    dedup_window: duration_or_none,
    dedup_window_unkeyed: duration_or_none,
});

impl SqliteSettings {
    /// Stores events in the folder `path`, with defaults for the rest.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let week = Duration::from_secs(7 * 24 * 3600);
        Self {
            path: path.into(),
            retention: week,
            retention_size: None,
            dedup_window: week,
            dedup_window_unkeyed: Duration::from_secs(60),
        }
    }
}

impl Default for SqliteSettings {
    fn default() -> Self {
        Self::new("data")
    }
}
