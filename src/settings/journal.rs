//! `[journal]`: whether events are kept, where, and what makes two of them the same.

use std::path::PathBuf;
use std::time::Duration;

use super::read::Table;

/// `[journal]`: what becomes of an event before its sender is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalSettings {
    /// `engine = "none"`: nothing is kept; handlers run before the answer.
    None,
    /// `engine = "sqlite"`: events are durable before the answer.
    Sqlite {
        /// The folder of the journal; `data` unless told.
        path: PathBuf,
        /// How long events are kept; 7 days unless told.
        retention: Duration,
        /// How many bytes of events are kept at most; no limit unless told.
        retention_size: Option<u64>,
        /// How long an event with the same id is a duplicate; 7 days unless told.
        dedup_window: Duration,
        /// How long an event without an id is one, compared by its bytes; 60 s unless told.
        dedup_window_unkeyed: Duration,
    },
}

/// The longest body that the engine `sqlite` keeps: 512 MiB. SQLite's longest value is 1,000,000,000
/// bytes, and holds what comes before the body too. A longer one would fail its whole commit.
pub(crate) const MAX_KEPT_BODY: usize = 512 * 1024 * 1024;

impl Default for JournalSettings {
    fn default() -> Self {
        Self::Sqlite {
            path: "data".into(),
            retention: Duration::from_secs(7 * 24 * 3600),
            retention_size: None,
            dedup_window: Duration::from_secs(7 * 24 * 3600),
            dedup_window_unkeyed: Duration::from_secs(60),
        }
    }
}

impl JournalSettings {
    /// The engine's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sqlite { .. } => "sqlite",
        }
    }

    /// What the answer 200 means, for people.
    pub fn promise(&self) -> String {
        match self {
            Self::None => {
                "none: nothing is kept; handlers run before the answer, and when one fails \
                           the sender is answered 500"
                    .to_owned()
            }
            Self::Sqlite { path, .. } => format!(
                "sqlite: an event is on disk in {} before it is answered 200",
                path.display()
            ),
        }
    }

    pub(super) fn read(&mut self, table: &Table<'_>) {
        let engine = table.string("engine");
        match engine.as_deref() {
            Some("none") => *self = Self::None,
            Some("sqlite") if *self == Self::None => *self = Self::default(),
            Some("sqlite") | None => {}
            Some("nats") => table.problem(
                "engine",
                "this version has no engine \"nats\" yet; allowed: sqlite, none",
            ),
            Some(other) => {
                table.problem("engine", format!("found {other:?}; allowed: sqlite, none"));
            }
        }
        match self {
            Self::None => {
                for key in [
                    "path",
                    "retention",
                    "retention_size",
                    "dedup_window",
                    "dedup_window_unkeyed",
                ] {
                    if table.has(key) {
                        table.problem(key, "does nothing with engine = \"none\"");
                    }
                }
            }
            Self::Sqlite {
                path,
                retention,
                retention_size,
                dedup_window,
                dedup_window_unkeyed,
            } => {
                if let Some(age) = table.duration("retention") {
                    *retention = age;
                }
                if let Some(bytes) = table.bytes("retention_size") {
                    *retention_size = Some(bytes as u64);
                }
                if let Some(folder) = table.string("path") {
                    *path = folder.into();
                }
                if let Some(window) = table.duration("dedup_window") {
                    *dedup_window = window;
                }
                if let Some(window) = table.duration("dedup_window_unkeyed") {
                    *dedup_window_unkeyed = window;
                }
            }
        }
        table.finish();
    }
}
