//! The index in a SQLite database.
//!
//! The database can be deleted: the events are found again in the journal; only duplicates and the
//! timelines of old attempts are lost with it.
//!
//! An event has no row. The newest events are in memory, in the open [`Segment`](segment); when there
//! are enough of them, or two seconds after the first, they become one row: what is known of them
//! all (ids, positions, times, kinds, a filter of their sessions), and one blob. A search reads what is
//! known of each segment, newest first, and opens those that may have what it looks for. Attempts
//! are written in the same way, in buckets of consecutive bodies.
//!
//! Where to look:
//!
//! - [`inbox`]: what happened and is not indexed yet; [`indexer`]: when to take it, and how much.
//! - [`segment`] and [`attempts`]: what there is in memory; [`codec`] and [`sessions`]: as blobs.
//! - [`writer`]: into the database; [`query`]: out of it; [`schema`]: its tables; [`handle`]: who asks.

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
