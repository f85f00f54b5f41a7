//! Delivers events to handlers.
//!
//! A [`Consumer`] is a handler with its name, its filter and its limits. Events reach it through lanes:
//! one at a time and in order within a conversation, in parallel across conversations. One try is an
//! attempt, which turns whatever the handler does (answer, fail, panic, hang) into an [`Outcome`].
//!
//! This module does not depend on HTTP or on which engine calls it.

mod consumer;
mod controls;
mod elsewhere;
mod lane;
mod large;
#[cfg(test)]
mod model_tests;
mod monotonic;
mod obeying;
mod options;
mod progress;
mod records;
mod replay;
mod retry;
mod runner;
mod runners;
mod saved;
mod schedule;
mod status;

pub use lane::Order;
pub use options::{DEFAULT_CONCURRENCY, DEFAULT_TIMEOUT, HandlerOptions};
pub use retry::Retry;

#[cfg(feature = "sqlite")]
pub(crate) use consumer::EndedAttempt;
pub(crate) use consumer::{AttemptObserver, Consumer, Outcome};
pub(crate) use controls::{ConsumerControls, HeldUp};
pub(crate) use elsewhere::Elsewhere;
pub(crate) use lane::{Lane, LaneMap};
pub(crate) use large::LargeBodies;
pub(crate) use obeying::deleted_by;
pub(crate) use records::{events_of, find, outlined};
pub(crate) use replay::ReplayRequest;
pub(crate) use runner::{DispatchTuning, Ending, Runner, RunnerContext};
pub(crate) use runners::{Living, Runners};
#[cfg(all(feature = "sqlite", feature = "postgres"))]
pub(crate) use saved::ProgressShapes;
pub(crate) use saved::Saved;
pub(crate) use status::{ConsumerStatus, EventStates};
