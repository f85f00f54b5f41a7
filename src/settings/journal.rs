//! `[journal]`: whether and where events are stored, how long, and when an event is a duplicate.

mod postgres;
mod sqlite;

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::kinds::one_of;
use super::spot::{Keys, Spot};

pub use postgres::{DatabaseTls, Durability, PostgresSettings};
pub use sqlite::SqliteSettings;

/// `[journal]`: what happens to an event before its sender is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "engine", rename_all = "lowercase")]
#[non_exhaustive]
pub enum JournalSettings {
    /// `engine = "none"`: nothing is stored; handlers run before the answer.
    None,
    /// `engine = "sqlite"`: events are durable before the answer.
    Sqlite(SqliteSettings),
    /// `engine = "postgres"`: events are durable in a PostgreSQL database before the answer. Several instances may
    /// share it. Needs the feature `postgres`.
    Postgres(Box<PostgresSettings>),
}

/// What the settings of all engines with a journal have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeptSettings<'a> {
    /// The folder of the journal, or of the index alone.
    #[cfg_attr(not(any(feature = "sqlite", feature = "postgres")), allow(dead_code))]
    pub(crate) path: &'a Path,
    pub(crate) retention: Duration,
    pub(crate) retention_size: Option<u64>,
    pub(crate) dedup_window: Duration,
    pub(crate) dedup_window_unkeyed: Duration,
}

/// The longest body that an engine stores: 512 MiB. A value in SQLite has at most 1,000,000,000 bytes, one in
/// PostgreSQL 1 GiB, and it also holds what precedes the body. A longer body would fail its whole commit.
pub(crate) const MAX_KEPT_BODY: usize = 512 * 1024 * 1024;

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
            Self::Postgres(_) => "postgres",
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
            Self::Postgres(postgres) => postgres.promise(),
        }
    }

    /// What all engines with a journal have; `None` without a journal.
    pub(crate) fn kept(&self) -> Option<KeptSettings<'_>> {
        match self {
            Self::None => None,
            Self::Sqlite(sqlite) => Some(KeptSettings {
                path: &sqlite.path,
                retention: sqlite.retention,
                retention_size: sqlite.retention_size,
                dedup_window: sqlite.dedup_window,
                dedup_window_unkeyed: sqlite.dedup_window_unkeyed,
            }),
            Self::Postgres(postgres) => Some(KeptSettings {
                path: &postgres.path,
                retention: postgres.retention,
                retention_size: postgres.retention_size,
                dedup_window: postgres.dedup_window,
                dedup_window_unkeyed: postgres.dedup_window_unkeyed,
            }),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    None,
    Sqlite,
    Postgres,
}

impl Keys for JournalSettings {
    fn fill(&mut self, table: &Spot<'_>) {
        let names = [
            ("sqlite", Named::Sqlite),
            ("postgres", Named::Postgres),
            ("none", Named::None),
        ];
        let named = table.read("engine", one_of(&names));
        let is_other = named.is_some_and(|_| {
            !names
                .iter()
                .any(|(name, one)| Some(*one) == named && *name == self.name())
        });
        if is_other {
            *self = match named {
                Some(Named::Sqlite) => Self::default(),
                Some(Named::Postgres) => Self::Postgres(Box::default()),
                _ => Self::None,
            };
        }
        match self {
            Self::None => {}
            Self::Sqlite(sqlite) => sqlite.fill(table),
            Self::Postgres(postgres) => postgres.fill(table),
        }
        let wrong = format!("does nothing with engine = {:?}", self.name());
        table.pass(Some(&wrong), |table| SqliteSettings::default().fill(table));
        table.pass(Some(&wrong), |table| {
            PostgresSettings::default().fill(table);
        });
    }
}
