//! The rules of every [`Journal`](crate::journal::Journal), as one suite that any engine can run.
//!
//! An engine implements [`Provider`] in its tests and passes it to the macro, which makes a test of
//! each case (`tokio` with `macros` and `rt-multi-thread` must be a dependency):
//!
//! ```
//! use std::sync::Arc;
//!
//! use offhook::clock::Clock;
//! use offhook::journal::Memory;
//! use offhook::journal::contract::{Instances, Provider};
//!
//! struct InMemory;
//!
//! #[offhook::async_trait]
//! impl Provider for InMemory {
//!     async fn open(&self, clock: Arc<dyn Clock>) -> Instances {
//!         let journal = Arc::new(Memory::new(clock, 3));
//!         Instances::new(journal.clone(), journal)
//!     }
//! }
//!
//! offhook::journal_contract!(InMemory);
//! # fn main() {}
//! ```
//!
//! Each case gets an empty journal as two instances: on an engine that several machines share these
//! are two handles with their own connections, on any other engine the same handle twice.

// These are tests, even where a library compiles them.
#![allow(clippy::unwrap_used, clippy::panic)]

pub mod cases;
mod dead_letters;
mod deletion;
mod desks;
mod documents;
mod duplicates;
#[cfg(test)]
mod folder;
mod log;
mod memory;
mod parts;
mod provider;
mod samples;
mod shares;

#[cfg(test)]
pub(crate) use folder::TestFolder;
pub use memory::Memory;
pub use provider::{Instances, Provider};
#[cfg(test)]
pub(crate) use samples::{
    WINDOW, all_there, body, change, duplicate, entry, letter, letters, new, numbered, only_head,
    put, remarkable, save, seqs, trim_all,
};
