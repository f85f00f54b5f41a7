//! [`Clock`]: the only place that asks the system for the time.
//!
//! Everything that needs to know when it is takes a clock, so a test decides what time it is.

mod fake;

use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use jiff::Timestamp;

pub use fake::FakeClock;

/// Tells the time.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time of day, for what is stored, shown or compared with a sender's timestamp.
    fn now(&self) -> Timestamp;

    /// A time that never goes back, for durations.
    fn monotonic(&self) -> Instant;

    /// Is ready when `pause` has passed on this clock.
    fn sleep(&self, pause: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(pause))
    }
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
