//! Moves a journal from one engine to another: between `sqlite` and `postgres`, both ways.
//!
//! What must hold: the target is found under its name only when everything is there and was counted. Until then it is
//! called `SCHEMA_moving`, or is in the folder `moving` of `journal.path`. A process that is killed goes on where it
//! was, unless the source has changed since. The source is not changed, and nothing else can open it meanwhile.
//!
//! The numbers, ids and times of bodies stay, and so do the ends of dedup windows. The progress of a consumer is
//! divided among the shares of the target, or united; [`Reshape`] does that, because it is opaque here.

mod to_postgres;
mod to_sqlite;
mod types;

pub(crate) use to_postgres::to_postgres;
pub(crate) use to_sqlite::to_sqlite;
pub(super) use types::failed;
pub use types::{MoveError, MoveStep, Moved, MovedCounts};
pub(crate) use types::{Reshape, Unite};
