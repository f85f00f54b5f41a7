//! The engine `sqlite`: the journal in one database file, written by one thread.
//!
//! An append is answered when its transaction is on the disk (`synchronous=FULL` in WAL mode: the
//! commit ends with fdatasync, or with fsync if SQLite was built without that). The thread puts
//! everything that waits into one transaction, so an event costs less as the load grows. Before an
//! answer only rowid tables are written.
//!
//! After a failed write or sync nothing is acknowledged until the database was closed, opened again
//! and checkpointed into one file with an empty WAL. The system may have lost the WAL's end; after
//! the checkpoint no such gap can be between two commits.
//!
//! Nothing that takes long happens on that thread: `checkpoint.rs` copies the WAL into the database
//! beside it, and dedup entries are sealed by a thread of their own.
//!
//! `journal.rs` is the handle, `operation.rs` the queue to the thread, `writer.rs` the thread, and
//! `commit.rs` the open database with the transaction that is being written; `known.rs` is what the
//! thread remembers of it; `readers.rs` has the connections that read; `reading.rs` reads the log,
//! and `damage.rs` reports what it cannot read; `store.rs`, `rows.rs`, `delete.rs` and `dead.rs` have the other statements,
//! `schema.rs` the tables. `folder.rs`, `files.rs` and `wal.rs` look at the files as such, at the start and after each
//! commit.
//! `backup.rs` copies a journal that another process may have open, `verify.rs` checks one, and `salvage.rs` saves
//! what can be read of a damaged one: `walk.rs` and `tables.rs` read its rows, `pages.rs` what SQLite does not find,
//! and `saved_copy.rs` writes them; `reach.rs` says which numbers consumers know. `partial.rs` is the folder that backup and salvage make.

mod backup;
mod checkpoint;
mod commit;
mod damage;
mod dead;
mod delete;
mod files;
mod folder;
mod journal;
mod known;
#[cfg(feature = "postgres")]
pub(super) mod moving;
mod operation;
mod pages;
mod partial;
mod reach;
mod readers;
mod reading;
mod rekey;
mod rows;
mod salvage;
mod saved_copy;
mod schema;
mod sql;
mod store;
mod tables;
#[cfg(test)]
mod tests;
mod verify;
mod wal;
mod walk;
mod writer;

pub use backup::{Backup, backup};
pub(crate) use folder::create_private;
#[cfg(feature = "postgres")]
pub(crate) use folder::own_folder;
pub(crate) use journal::Sqlite;
pub use partial::FilesError;
pub(crate) use readers::Readers;
pub use salvage::{Salvaged, salvage};
pub use verify::{Finding, Verified, verify};
