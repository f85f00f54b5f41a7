//! The index in a SQLite database.
//!
//! The database may be deleted: the events are indexed again from the journal. Only duplicates and
//! the timelines of old attempts are lost with it.
//!
//! An event has no row of its own. The newest events are in memory, in the open
//! [`Segment`](segment). When the segment is full, or two seconds after its first event, it becomes
//! one row: a summary (ids, positions, times, kinds, a filter of the sessions) and one blob. A
//! search reads the summaries, newest first, and decodes only the blobs that may hold what it looks
//! for. Attempts are written in the same way, in buckets of consecutive bodies.
//!
//! Where to look:
//!
//! - [`inbox`]: what is not indexed yet; [`indexer`]: when to take it, and how much.
//! - [`segment`] and [`attempts`]: the data in memory; [`codec`] and [`sessions`]: their encodings.
//! - [`writer`]: writes the database; [`query`]: reads it; [`schema`]: its tables; [`handle`]: the
//!   search interface.

mod attempts;
mod bytes;
mod codec;
mod failure;
mod handle;
mod inbox;
mod indexer;
#[cfg(test)]
mod model_tests;
mod query;
mod schema;
mod segment;
mod sessions;
mod tuning;
mod writer;

pub(crate) use handle::Index;
