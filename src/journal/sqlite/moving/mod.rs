//! The journal as the source and as the target of a move to or from another engine, see `journal/moving`.

mod source;
mod target;

pub(in crate::journal) use source::{MovedBlock, SqliteSource};
pub(in crate::journal) use target::SqliteTarget;
