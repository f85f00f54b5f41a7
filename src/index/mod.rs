//! The search for events by id, session, kind and time, with the attempts at each.
//!
//! An index follows the journal like any consumer, so no request waits for it. [`Notes`] tells it
//! what the journal does not hold: attempts, duplicates and what retention removed. [`Search`]
//! answers questions. The only index is a SQLite database of its own (`sqlite/`); a build without
//! the feature `sqlite` has no search.

mod search;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "sqlite")]
use search::Answer;
pub(crate) use search::{EventEntry, EventFilter, Notes, Search, TimelineEntry};
#[cfg(feature = "sqlite")]
pub(crate) use sqlite::Index;
#[cfg(all(feature = "sqlite", feature = "test-support"))]
pub use sqlite::blobs;
