//! The index in a SQLite database.
//!
//! The database may be deleted: the events are indexed again from the journal. Only duplicates and
//! the timelines of old attempts are lost with it.
//!
//! An event has no row of its own. The newest events are in memory, in the open
//! [`segment`]. When the segment is full, or two seconds after its first event, it becomes one row:
//! a summary (ids, positions, times, kinds, a filter of the sessions) and one blob. A search reads
//! the summaries, newest first, and decodes only the blobs that may hold what it looks for. Attempts
//! are written in the same way, in buckets of consecutive bodies.
//!
//! Where to look:
//!
//! - [`inbox`]: what is not indexed yet; [`indexer`]: when to take it, and how much.
//! - [`segment`] and [`attempts`]: the data in memory and as blobs.
//! - [`writer`]: writes the database; [`query`]: reads it; [`schema`]: its tables and sizes;
//!   [`handle`]: the search interface.

mod attempts;
mod handle;
mod inbox;
mod indexer;
#[cfg(test)]
mod model_tests;
mod query;
mod schema;
mod segment;
mod writer;

pub(crate) use handle::Index;
