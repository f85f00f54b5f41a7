//! [`Clock`]: the only place that asks the system for the time.
//!
//! Everything that needs to know when it is takes a clock, so a test decides what time it is.

use std::fmt::Debug;
use std::time::Instant;

use jiff::Timestamp;

/// Tells the time.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time of day, for what is stored, shown or compared with a sender's timestamp.
    fn now(&self) -> Timestamp;

    /// A time that never goes back, for durations.
    fn monotonic(&self) -> Instant;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[allow(clippy::disallowed_methods)] // this is the place
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}
