//! Where events are kept, and what consumers have done with them.
//!
//! A [`Journal`] is four small things in one, so that an engine can be read and written one by one:
//!
//! - [`Log`]: an append-only log of bodies with one dense sequence;
//! - [`Desks`] and [`Desk`]: the progress of consumers, for each share of dispatch;
//! - [`Documents`]: small documents with versions;
//! - [`DeadLetters`]: the events that consumers have given up on.
//!
//! A body is appended once, whatever number of events it holds. An event stands at a [`Position`]: the
//! number of its body, and which part of it. The suite `contract` (feature `test-support`) says what every
//! journal must do; `Offhook::custom_journal` takes one of your own.
//!
//! Inside: `sqlite/` is the engine of the default, `dedup/` finds duplicates, `tail.rs` has the newest
//! records in memory.

#[cfg(feature = "sqlite")]
mod block;
#[cfg(any(test, feature = "test-support"))]
pub mod contract;
mod dead_letters;
#[cfg(feature = "sqlite")]
mod dedup;
mod desk;
mod documents;
#[cfg(test)]
mod folder;
mod log;
#[cfg(any(test, feature = "test-support"))]
mod memory;
mod position;
mod record;
#[cfg(feature = "sqlite")]
mod sqlite;
mod tail;
mod unavailable;

pub use dead_letters::{DeadLetter, DeadLetters, NamedLetter};
pub use desk::{Desk, Desks, ProgressChange};
pub use documents::{Document, Documents, Expected, PutError, Version};
#[cfg(test)]
pub(crate) use folder::TestFolder;
pub use log::Log;
#[cfg(any(test, feature = "test-support"))]
pub use memory::Memory;
pub use position::{MAX_PARTS, Part, Position, Seq, Share, share_of};
pub(crate) use position::{PositionHashSet, PositionMap};
pub use record::{
    Appended, DedupKey, Entry, EntryPart, KeptPart, KeyHash, PartView, Parts, Record,
};
#[cfg(feature = "sqlite")]
pub(crate) use sqlite::Sqlite;
pub use tail::Tail;
pub use unavailable::Unavailable;

/// A whole journal. Everything that is all four is one.
pub trait Journal: Log + Desks + Documents + DeadLetters {}

impl<J: Log + Desks + Documents + DeadLetters> Journal for J {}
