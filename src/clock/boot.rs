//! The time since the machine was started, with that in which it was suspended.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

#[cfg(any(target_os = "android", target_os = "linux"))]
const CLOCK: ClockId = ClockId::Boottime;
/// Elsewhere this one counts a suspension, or there is none.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Returns how much time has passed.
pub(super) fn passed() -> Duration {
    let time = clock_gettime(CLOCK);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
