//! [`RequestDeadline`]: until when a connection waits for a request.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// When a request must be whole, head and body; kept and enforced by its connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestDeadline(Rc<DeadlineCells>);

#[derive(Debug, Default)]
struct DeadlineCells {
    begun: Cell<Option<Instant>>,
    at: Cell<Option<Instant>>,
    over: Cell<bool>,
}

impl RequestDeadline {
    pub(crate) fn get(&self) -> Option<Instant> {
        self.0.at.get()
    }

    /// A request begins at `now`, and must be whole `within` that time.
    pub(crate) fn begin(&self, now: Instant, within: Duration) {
        self.0.begun.set(Some(now));
        self.0.at.set(Some(now + within));
    }

    /// Nothing more is waited for.
    pub(crate) fn clear(&self) {
        self.0.at.set(None);
    }

    /// When the request's first byte came.
    pub(crate) fn begun(&self) -> Option<Instant> {
        self.0.begun.get()
    }

    /// The connection has ended the request.
    pub(crate) fn end(&self) {
        self.0.over.set(true);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.over.get()
    }
}
