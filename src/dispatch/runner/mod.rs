//! [`Runner`]: one consumer on its way along a journal, in one share.
//!
//! It reads ahead until enough may start, within a limit; starts what the
//! [`Schedule`](super::schedule::Schedule) says; turns outcomes into progress, retries and dead letters; and
//! saves all of that a little later: what was not saved when the process is killed is handed over again. It
//! waits for something to happen and never polls.
//!
//! `state.rs` is what it knows, `run.rs` the loop; `reading.rs`, `attempts.rs`, `commands.rs`, `saving.rs`
//! and `clock_steps.rs` are what a turn of the loop does.

mod alarm;
mod attempts;
mod clock_steps;
mod commands;
pub(super) mod find;
mod next;
mod reading;
mod run;
mod saving;
mod state;
#[cfg(test)]
mod tests;

pub(super) use state::Ending;
pub(crate) use state::{Runner, RunnerContext};
