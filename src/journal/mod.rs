//! Stores events, and the progress of consumers.
//!
//! A [`Journal`] combines four small traits, which an engine can implement one by one:
//!
//! - [`Log`]: an append-only log of bodies with one dense sequence;
//! - [`Desks`] and [`Desk`]: the progress of consumers, for each share of dispatch;
//! - [`Documents`]: small documents with versions;
//! - [`DeadLetters`]: the events that consumers have given up on.
//!
//! A body is appended once, however many events it holds. An event stands at a [`Position`]: the
//! number of its body, and which part of it. The suite `contract` (feature `test-support`) tests
//! the rules of every journal; `Offhook::custom_journal` takes your own.
//!
//! Inside: `traits.rs` has the traits, `sqlite/` is the default engine, `postgres/` the one that several instances share,
//! `dedup/` finds duplicates for the first, `tail.rs` holds the newest records in memory.

#[cfg(any(feature = "sqlite", feature = "postgres"))]
// SQLite's dedup entries and older blocks are not needed without it.
#[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
mod block;
mod cluster;
#[cfg(any(test, feature = "test-support"))]
pub mod contract;
#[cfg(feature = "sqlite")]
mod dedup;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
mod dedup_entry;
#[cfg(all(feature = "sqlite", feature = "test-support"))]
#[doc(hidden)]
pub mod fuzzed;
#[cfg(all(feature = "sqlite", feature = "postgres"))]
mod moving;
mod position;
#[cfg(feature = "postgres")]
mod postgres;
mod record;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod remains;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
mod sum;
mod tail;
mod traits;

#[cfg(test)]
pub(crate) use cluster::FakeCluster;
#[cfg(feature = "postgres")]
pub(crate) use cluster::Peer;
pub(crate) use cluster::{AddError, Among, Cluster, Gathered, Hold};
#[cfg(feature = "postgres")]
pub use cluster::{Grant, ShareCommand};
#[cfg(not(feature = "postgres"))]
pub(crate) use cluster::{Grant, ShareCommand};
#[cfg(any(test, feature = "test-support"))]
pub use contract::Memory;
#[cfg(test)]
pub(crate) use contract::TestFolder;
#[cfg(feature = "sqlite")]
pub(crate) use dedup::BloomFilter;
#[cfg(all(feature = "sqlite", feature = "postgres"))]
pub use moving::{MoveError, MoveStep, Moved, MovedCounts};
#[cfg(all(feature = "sqlite", feature = "postgres"))]
pub(crate) use moving::{Reshape, Unite, to_postgres, to_sqlite};
pub use position::{MAX_PARTS, Part, Position, Seq, Share, share_of};
pub(crate) use position::{PositionHashSet, PositionMap};
#[cfg(feature = "postgres")]
pub use postgres::{
    Note, Observation, Postgres, PostgresCounts, PostgresError, PostgresOptions, Verdict,
};
pub(crate) use record::further_bytes;
pub use record::{
    Appended, DedupKey, Entry, EntryPart, Events, KeptPart, KeyHash, Missing, PartView, Parts,
    Record,
};
#[cfg(all(feature = "postgres", feature = "sqlite"))]
pub(crate) use sqlite::own_folder;
#[cfg(feature = "sqlite")]
pub use sqlite::{Backup, FilesError, Finding, Salvaged, Verified, backup, salvage, verify};
#[cfg(feature = "sqlite")]
pub(crate) use sqlite::{Readers, Sqlite, create_private};
pub use tail::Tail;
pub use traits::{
    DeadLetter, DeadLetters, Deletion, Desk, Desks, Document, Documents, Expected, Log,
    NamedLetter, ProgressChange, PutError, SavedProgress, Unavailable, Version,
};

/// A whole journal. Every type with all four traits is one.
pub trait Journal: Log + Desks + Documents + DeadLetters {}

impl<J: Log + Desks + Documents + DeadLetters> Journal for J {}
