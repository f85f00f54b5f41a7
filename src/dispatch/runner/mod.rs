//! [`Runner`]: drives one consumer along a journal, in one share.
//!
//! It reads ahead until enough events may start, within a limit; starts what the
//! [`Schedule`](super::schedule::Schedule) says; turns outcomes into progress, retries and dead letters;
//! and saves all of that a little later. After a kill, events whose progress was not saved are delivered
//! again. It waits for something to happen and never polls.
//!
//! `state.rs` is its state, `run.rs` the loop; `reading.rs`, `attempts.rs`, `commands.rs`, `saving.rs`
//! and `clock_steps.rs` are the steps of one turn of the loop.

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
