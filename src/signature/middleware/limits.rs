//! [`Limits`]: limits for one request, and the budget that all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Limits for one request.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest body, in bytes. Default: 32 MiB.
    pub max_body: usize,
    /// How long head and body of one request may take. Default: 10 s. In an application's own `App` the
    /// middleware sees only the body, and measures from the end of the head.
    pub request_timeout: Duration,
    /// The budget for bytes of bodies in memory, over all requests that share this value.
    pub in_flight: InFlight,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body: 32 * 1024 * 1024,
            request_timeout: Duration::from_secs(10),
            in_flight: InFlight::new(128 * 1024 * 1024),
        }
    }
}

/// A budget of bytes, shared by its clones.
///
/// Only bytes that have arrived count, so a sender that declares a long body and sends nothing uses none
/// of the budget.
#[derive(Debug, Clone)]
pub struct InFlight(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    limit: usize,
    used: AtomicUsize,
}

impl InFlight {
    /// At most `limit` bytes at the same time.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Budget {
            limit,
            used: AtomicUsize::new(0),
        }))
    }

    /// The bytes held now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    pub(super) fn hold(&self) -> Held {
        Held {
            budget: Arc::clone(&self.0),
            bytes: 0,
        }
    }
}

/// A part of the budget, released on drop.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Held {
    /// Adds bytes. Returns whether they fit.
    pub(super) fn add(&mut self, bytes: usize) -> bool {
        let before = self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before.saturating_add(bytes) <= self.budget.limit
    }
}

impl Held {
    /// Counts bytes that are already in memory, even over the limit.
    pub(crate) fn charge(&mut self, bytes: usize) {
        self.add(bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
