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
//! `journal.rs` is the handle, `operation.rs` the queue to the thread, `writer.rs` the thread, and
//! `commit.rs` the open database with the transaction that is being written; `store.rs` and `dead.rs` have the statements,
//! `schema.rs` the tables.

mod commit;
mod dead;
mod folder;
mod journal;
mod operation;
mod schema;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use journal::{Sqlite, look};
