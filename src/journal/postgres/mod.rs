//! The journal in a PostgreSQL database, which several instances may share.
//!
//! There is one log with one dense sequence. Any instance appends any body; all appends follow each other under one
//! advisory lock ([`writer`], functions.sql). Each instance follows the log into its own tail ([`follower`]).
//! Dispatch is divided into shares, each with one holder at a time ([`lease`], [`division`]); holder and epoch are checked in the
//! transaction that saves progress ([`desk`]). A database that has gone back is noticed before it is used
//! ([`verify`]), or when progress is saved ([`editions`]).

mod asking;
mod batch;
mod check;
mod clustered;
mod connect;
mod deleting;
mod desk;
mod division;
mod documents;
mod editions;
mod engine;
mod examine;
mod facts;
mod follower;
mod following;
mod gathering;
mod grants;
mod hosts;
mod joining;
mod journal;
mod lapse;
mod lease;
mod letters;
mod link;
#[cfg(feature = "sqlite")]
pub(super) mod moving;
mod notes;
mod options;
mod peers;
mod reading;
mod schema;
mod session;
mod shared;
mod sql;
mod tending;
#[cfg(test)]
mod tests;
mod turn;
mod verify;
#[cfg(feature = "sqlite")]
mod verifying;
mod writer;

pub use facts::{Observation, Verdict};
pub use journal::{Postgres, PostgresCounts};
pub use notes::Note;
pub use options::{PostgresError, PostgresOptions};
