//! [`Error`]: why a run has no result.

use std::fmt::Display;
use std::io;

/// Why a run has no result: what could not be done, and what the system or the server said.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub(crate) String);

/// Adds to an error of the system where it happened.
pub(crate) fn io(what: impl Display) -> impl Fn(io::Error) -> Error {
    move |error| Error(format!("{what}: {error}"))
}
