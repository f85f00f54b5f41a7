//! [`RecentFailures`]: the newest failed attempts of a consumer, for an administrator. They outlive its runners: a
//! reload that starts it again does not take away why it fails.

use std::collections::VecDeque;

use crate::{EventId, Timestamp};

/// The newest failed attempts, newest first. Takes no memory before the first.
#[derive(Debug, Default)]
pub(super) struct RecentFailures(VecDeque<RecentFailure>);

/// An attempt that has failed.
#[derive(Debug, Clone)]
pub(crate) struct RecentFailure {
    pub(crate) at: Timestamp,
    pub(crate) event: EventId,
    pub(crate) attempt: u32,
    pub(crate) outcome: String,
    /// When it is tried again; `None` for a dead letter.
    pub(crate) next_at: Option<Timestamp>,
}

impl RecentFailures {
    pub(super) fn add(&mut self, failure: RecentFailure) {
        self.0.truncate(MOST - 1);
        self.0.push_front(failure);
    }

    pub(super) fn all(&self) -> Vec<RecentFailure> {
        self.0.iter().cloned().collect()
    }
}

/// How many are kept.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_come_first() {
        let mut failures = RecentFailures::default();
        for attempt in 1..=20 {
            failures.add(RecentFailure {
                at: Timestamp::UNIX_EPOCH,
                event: uuid::Uuid::nil().into(),
                attempt,
                outcome: "no".to_owned(),
                next_at: None,
            });
        }
        let attempts: Vec<_> = failures.all().iter().map(|one| one.attempt).collect();
        assert!(attempts.into_iter().eq((5..=20).rev()));
    }
}
