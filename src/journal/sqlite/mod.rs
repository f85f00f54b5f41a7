//! The engine `sqlite`: the journal in one database file, written by one thread.
//!
//! An append is answered when the transaction it is in is on the disk (`synchronous=FULL` in WAL
//! mode: the commit ends with fdatasync, or with fsync where SQLite was not built for that). The
//! thread takes everything that waits into one transaction, so the more there is to do the less each
//! event costs. Nothing but rowid tables is written on the way to an answer.
//!
//! After a failed write or synchronisation nothing is acknowledged until the database was closed,
//! opened again and brought into one whole file (a checkpoint that empties the WAL): what the system
//! may have dropped of the WAL's end can then no longer stand between two commits.
//!
//! `journal.rs` is the handle, `queue.rs` the way to the thread and `answer.rs` the way back; `writer.rs`
//! is the thread, `state.rs` the open database and `commit.rs` one transaction of it; `store.rs` and
//! `dead.rs` have the statements, `schema.rs` the tables.

mod answer;
mod commit;
mod dead;
mod folder;
mod journal;
mod open_error;
mod operation;
mod queue;
mod schema;
mod shared;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use journal::Sqlite;
