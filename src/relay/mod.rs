//! Relay: where subscribers' events may be sent to.

pub mod guard;

pub use guard::{Exception, Guard, Refusal};
