//! [`Retry`]: when a failed event is tried again.

use std::time::Duration;

use serde::Serialize;

/// Pauses that grow by a factor up to a maximum. Each varies at random, so that events that failed
/// together are not retried together.
///
/// ```
/// use std::time::Duration;
/// use offhook::Retry;
///
/// let retry = Retry { jitter: 0.0, ..Retry::default() };
/// assert_eq!(retry.pause(1, 0.5), Duration::from_secs(1));
/// assert_eq!(retry.pause(4, 0.5), Duration::from_secs(8));
/// assert_eq!(retry.pause(11, 0.5), Duration::from_secs(300));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Retry {
    /// The pause after the first failure. Default: 1 s.
    pub first: Duration,
    /// How much longer each pause is than the one before. Default: 2.
    pub factor: f64,
    /// The longest pause. Default: 5 min.
    pub max: Duration,
    /// The total number of attempts. Default: 12.
    pub attempts: u32,
    /// How far a pause may vary, as a fraction of it. Default: 0.2.
    pub jitter: f64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            factor: 2.0,
            max: Duration::from_secs(300),
            attempts: 12,
            jitter: 0.2,
        }
    }
}

impl Retry {
    /// The pause after `attempts` failures; `chance` (from 0 to 1) selects the variation.
    pub fn pause(&self, attempts: u32, chance: f64) -> Duration {
        let exponent = i32::try_from(attempts.saturating_sub(1)).unwrap_or(i32::MAX);
        let plain = self.first.as_secs_f64() * self.factor.powi(exponent);
        let plain = plain.min(self.max.as_secs_f64());
        let off = 1.0 + self.jitter * (2.0 * chance - 1.0);
        Duration::try_from_secs_f64(plain * off).unwrap_or(self.max)
    }
}
