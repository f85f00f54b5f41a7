//! [`Limits`]: what a request may take, and the budget that all of them share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What a request may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest body, in bytes; 32 MiB unless told.
    pub max_body: usize,
    /// How long head and body of one request may take; 10 s unless told. Alone in somebody's `App`
    /// the middleware sees only the body, and measures from the head's end.
    pub request_timeout: Duration,
    /// The bytes of bodies held at once, over all requests that share this value.
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
/// Only bytes that have arrived count, so a sender that declares much and sends nothing takes
/// nothing from the others.
#[derive(Debug, Clone)]
pub struct InFlight(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    limit: usize,
    used: AtomicUsize,
}

impl InFlight {
    /// At most `limit` bytes at once.
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

/// A share of the budget, given back on drop.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Held {
    /// Whether so many bytes more still fit.
    pub(super) fn add(&mut self, bytes: usize) -> bool {
        let before = self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before.saturating_add(bytes) <= self.budget.limit
    }
}

impl Held {
    /// Counts bytes that are held whether they fit or not.
    pub(crate) fn charge(&mut self, bytes: usize) {
        self.add(bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
