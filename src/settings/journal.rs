//! `[journal]`: whether and where events are stored, and when an event is a duplicate.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::kinds::{duration, file_path, one_of, size, some, write_path};
use super::spot::{Keys as _, Spot, keys};

/// `[journal]`: what happens to an event before its sender is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "engine", rename_all = "lowercase")]
#[non_exhaustive]
pub enum JournalSettings {
    /// `engine = "none"`: nothing is stored; handlers run before the answer.
    None,
    /// `engine = "sqlite"`: events are durable before the answer.
    Sqlite(SqliteSettings),
}

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
    /// The limit for the size of all events, in bytes. Default: no limit.
    pub retention_size: Option<u64>,
    /// The dedup window: how long another event with the same id is a duplicate. Default: 7 days.
    pub dedup_window: Duration,
    /// The same for events without an id, which are compared by their bytes. Default: 60 s.
    pub dedup_window_unkeyed: Duration,
}

keys!(SqliteSettings {
    path: file_path,
    retention: duration,
    retention_size: some(size),
    dedup_window: duration,
    dedup_window_unkeyed: duration,
});

/// The longest body that the engine `sqlite` stores: 512 MiB. A value in SQLite has at most
/// 1,000,000,000 bytes, and also holds what precedes the body. A longer body would fail its whole
/// commit.
pub(crate) const MAX_KEPT_BODY: usize = 512 * 1024 * 1024;

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

impl Default for JournalSettings {
    fn default() -> Self {
        Self::Sqlite(SqliteSettings::default())
    }
}

impl JournalSettings {
    /// The engine's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sqlite(_) => "sqlite",
        }
    }

    /// What an answer of 200 means, as text for users.
    pub fn promise(&self) -> String {
        match self {
            Self::None => {
                "none: nothing is kept; handlers run before the answer, and when one fails \
                           the sender is answered 500"
                    .to_owned()
            }
            Self::Sqlite(sqlite) => format!(
                "sqlite: an event is on disk in {} before it is answered 200",
                sqlite.path.display()
            ),
        }
    }

    pub(super) fn fill(&mut self, table: &Spot<'_>) {
        let kept = table.read("engine", one_of(&[("sqlite", true), ("none", false)]));
        match (kept, &*self) {
            (Some(false), _) => *self = Self::None,
            (Some(true), Self::None) => *self = Self::default(),
            _ => {}
        }
        match self {
            Self::None => table.pass(Some("does nothing with engine = \"none\""), |table| {
                SqliteSettings::default().fill(table);
            }),
            Self::Sqlite(sqlite) => sqlite.fill(table),
        }
    }
}
