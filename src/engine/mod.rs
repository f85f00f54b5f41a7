//! Takes each verified event.
//!
//! An [`Engine`] takes an envelope and says when it may be acknowledged. There are two:
//!
//! - [`InlineEngine`] (`engine = "none"`) stores nothing, so the handlers run before the answer.
//! - [`JournalEngine`] appends to a journal and acknowledges as soon as the event is durable. Consumers
//!   then follow the journal, each with its own progress: the [`Pipeline`].

mod backlog;
mod commands;
mod deletion;
mod dispatch;
mod envelope;
mod gathering;
mod inline;
mod journaled;
mod keys;
mod opened;
mod pipeline;
mod retention;
mod shares;
mod turns;
mod watching;

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use crate::Event;

pub(crate) use backlog::{Backlog, Wanted};
pub(crate) use deletion::Person;
pub(crate) use envelope::Envelope;
pub(crate) use inline::InlineEngine;
pub(crate) use journaled::JournalEngine;
pub(crate) use keys::Windows;
pub(crate) use opened::Opened;
pub(crate) use pipeline::Pipeline;
pub(crate) use retention::Retention;
pub(crate) use watching::run as watch_elsewhere;

/// Takes verified events.
pub(crate) trait Engine: Debug + Send + Sync + 'static {
    /// Takes the event in `envelope`, which was opened to `events`.
    ///
    /// `Ok` is the promise that the sender may forget the event.
    fn accept(self: Arc<Self>, envelope: Envelope, events: Arc<[Event]>) -> Work;

    /// Whether it needs the contents of events, to find duplicates.
    fn compares_contents(&self) -> bool {
        false
    }

    /// After how many seconds a sender should come again whose event is [unavailable](NotAccepted::Unavailable).
    fn retry_after(&self) -> u64 {
        1
    }

    /// Why new events cannot be taken now.
    fn not_ready(&self) -> Option<&'static str> {
        None
    }
}

/// An engine's work on one event. It runs to its end even if the sender hangs up.
pub(crate) type Work = Pin<Box<dyn Future<Output = Result<Accepted, NotAccepted>> + Send>>;

/// How an event was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// The event is accepted for the first time.
    New,
    /// The event is the same as one that was accepted before.
    Duplicate,
}

/// Why an event may not be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAccepted {
    /// A handler failed, and only the sender can try again.
    #[error("a handler failed")]
    HandlerFailed,
    /// The event cannot be stored now, or there is no room for it.
    #[error("it cannot be stored now")]
    Unavailable,
}
