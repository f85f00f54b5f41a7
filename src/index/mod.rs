//! What an administrator looks for: events by id, session, kind and time, and what became of them.
//!
//! An index follows the journal like any consumer and is never on the way to an answer. It is told by
//! [`Notes`] what is not in the journal: attempts, duplicates, what retention removed. It answers a
//! [`Search`]. The one index is a SQLite database of its own (`sqlite/`); a build without the feature
//! `sqlite` has no search.

mod entry;
mod notes;
mod search;
#[cfg(feature = "sqlite")]
mod sqlite;

pub(crate) use entry::{EventEntry, EventFilter, TimelineEntry};
pub(crate) use notes::Notes;
pub(crate) use search::Search;
#[cfg(feature = "sqlite")]
pub(crate) use sqlite::Index;
