//! [`Rates`]: at most 200 refused requests a second are taken of each source, and as many without a body: whoever
//! sends nothing takes nothing from those who sign.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Two buckets for each source; what has no source has them together.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<Option<Box<str>>, [Bucket; 2]>>);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Rates {
    /// Whether one more of this source may be taken, with or without its body.
    pub(super) fn pass(&self, source: Option<&str>, has_body: bool, now: Instant) -> bool {
        let mut buckets = self.buckets();
        let key = source.map(Box::from);
        let full = Bucket {
            tokens: A_SECOND,
            at: now,
        };
        let bucket = &mut buckets.entry(key).or_insert([full; 2])[usize::from(has_body)];
        let passed = now.saturating_duration_since(bucket.at);
        bucket.at = bucket.at.max(now);
        bucket.tokens = (bucket.tokens + passed.as_secs_f64() * A_SECOND).min(A_SECOND);
        let passes = bucket.tokens >= 1.0;
        if passes {
            bucket.tokens -= 1.0;
        }
        passes
    }

    /// Forgets the sources that are not served any more.
    pub(super) fn keep(&self, names: &[&str]) {
        let is_served = |name: &str| names.contains(&name);
        self.buckets()
            .retain(|name, _| name.as_deref().is_none_or(is_served));
    }

    fn buckets(&self) -> MutexGuard<'_, HashMap<Option<Box<str>>, [Bucket; 2]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const A_SECOND: f64 = 200.0;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    #[test]
    fn each_source_has_a_rate_of_its_own() {
        let (rates, start) = (Rates::default(), SystemClock.monotonic());
        let taken = |source, at: Duration| {
            let passes = (0..1000).filter(|_| rates.pass(source, true, start + at));
            passes.count()
        };
        assert_eq!(taken(Some("a"), Duration::ZERO), 200);
        assert!(rates.pass(Some("a"), false, start));
        assert_eq!(taken(Some("b"), Duration::ZERO), 200);
        assert_eq!(taken(None, Duration::ZERO), 200);
        assert_eq!(taken(Some("a"), Duration::from_millis(500)), 100);
        assert_eq!(taken(Some("a"), Duration::from_secs(60)), 200);
        rates.keep(&["b"]);
        assert_eq!(rates.buckets().len(), 2);
    }
}
