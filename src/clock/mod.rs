//! [`Clock`]: the only place that reads the system's time.
//!
//! All code that needs the time takes a clock, so that a test can set the time.

mod boot;
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

    /// The time since the machine was started. Time in which it was suspended counts, which
    /// [`monotonic`](Self::monotonic) leaves out on Linux.
    fn since_boot(&self) -> Duration {
        boot::passed()
    }

    /// Completes when `pause` has passed on this clock.
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
