//! [`Plans`]: the replays that were shown before they are asked for. What was shown is what is replayed, or nothing
//! is: a plan is good once, for ten minutes, and only for the same events and the same consumers.
//!
//! The plan itself is with its client. Here is only what it cannot change: a sum over the events and the consumers,
//! with what each consumer wants and to where it goes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::error::ApiError;
use crate::Timestamp;
use crate::journal::{Position, Seq};

/// Which events a replay is of, which consumer gets them (by default all), and how fast.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plan {
    /// Under which it was shown.
    pub(super) id: Uuid,
    pub(super) consumer: Option<String>,
    pub(super) session: Option<String>,
    pub(super) event: Option<String>,
    /// These events, in place of all that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ids: Option<Vec<String>>,
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
    /// The newest body of the journal when it was shown: what came later is not in it.
    pub(super) up_to: Seq,
    /// Events a second; as fast as they are handled without it.
    pub(super) rate: Option<u32>,
}

/// The plans that were shown lately, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Plans(Mutex<VecDeque<Shown>>);

#[derive(Debug)]
struct Shown {
    id: Uuid,
    at: Instant,
    sum: Sum,
    is_used: bool,
}

/// Over what a plan would do. Two plans with the same sum do the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sum([u8; 32]);

impl Sum {
    /// Over the plan, its consumers, each as a text without a byte 0, and its events.
    pub(super) fn of(
        plan: &Plan,
        consumers: impl Iterator<Item = String>,
        events: &[Position],
    ) -> Self {
        let mut sum = Sha256::new();
        let plan = Plan {
            id: Uuid::nil(),
            ..plan.clone()
        };
        // Text of JSON has no byte 0.
        sum.update(serde_json::to_vec(&plan).unwrap_or_default());
        for consumer in consumers {
            sum.update(b"\0");
            sum.update(consumer);
        }
        for position in events {
            sum.update(position.seq().to_le_bytes());
            sum.update(position.part().to_le_bytes());
        }
        Self(sum.finalize().into())
    }
}

impl Plans {
    /// Notes a plan that is shown now. Returns its id, and how long it is good.
    pub(super) fn show(&self, sum: Sum, now: Instant) -> (Uuid, Duration) {
        let id = Uuid::now_v7();
        let mut shown = self.fresh(now);
        if shown.len() == MOST {
            shown.pop_front();
        }
        shown.push_back(Shown {
            id,
            at: now,
            sum,
            is_used: false,
        });
        (id, LIFETIME)
    }

    /// Fails when a plan is not known any more, or was used.
    pub(super) fn check(&self, id: Uuid, now: Instant) -> Result<(), ApiError> {
        good(&mut self.fresh(now), id).map(drop)
    }

    /// Uses a plan up, for good: also when what follows fails, since some of it may have been done.
    ///
    /// # Errors
    ///
    /// When it is not known any more, was used, or would do something else than what was shown.
    pub(super) fn take(&self, id: Uuid, sum: Sum, now: Instant) -> Result<(), ApiError> {
        let mut shown = self.fresh(now);
        let plan = good(&mut shown, id)?;
        if plan.sum != sum {
            return Err(ApiError::plan_changed(
                "other events or other consumers would be concerned now than were shown",
            ));
        }
        plan.is_used = true;
        Ok(())
    }

    /// Those that are still good, or used.
    fn fresh(&self, now: Instant) -> MutexGuard<'_, VecDeque<Shown>> {
        let mut shown = self.lock();
        while shown
            .front()
            .is_some_and(|plan| now.saturating_duration_since(plan.at) >= LIFETIME)
        {
            shown.pop_front();
        }
        shown
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Shown>> {
        // No panic can leave it half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The plan with this id, which was not used.
fn good(shown: &mut VecDeque<Shown>, id: Uuid) -> Result<&mut Shown, ApiError> {
    let plan = shown.iter_mut().find(|plan| plan.id == id);
    let plan = plan.ok_or_else(|| ApiError::plan_expired(id))?;
    if plan.is_used {
        return Err(ApiError::plan_used(id));
    }
    Ok(plan)
}

/// How long a plan is good.
const LIFETIME: Duration = Duration::from_secs(600);

/// So many are remembered, 80 bytes each. The oldest goes first, and is as one whose time is over.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    fn sum(rate: u32, consumers: &[&str], events: &[u64]) -> Sum {
        let plan = Plan {
            rate: Some(rate),
            ..Plan::default()
        };
        let events: Vec<_> = events.iter().map(|seq| Position::new(*seq, 1)).collect();
        let consumers = consumers.iter().map(|name| (*name).to_owned());
        Sum::of(&plan, consumers, &events)
    }

    fn code(taken: Result<(), ApiError>) -> &'static str {
        taken.map_or_else(|error| error.code(), |()| "taken")
    }

    #[test]
    fn a_plan_is_good_once_for_what_was_shown() {
        let (plans, now) = (Plans::default(), SystemClock.monotonic());
        let shown = sum(1, &["a", "b"], &[1, 2]);
        let (id, _) = plans.show(shown, now);
        for other in [
            sum(2, &["a", "b"], &[1, 2]),
            sum(1, &["a"], &[1, 2]),
            sum(1, &["a", "b"], &[1, 3]),
            sum(1, &["a", "b"], &[1]),
        ] {
            assert_eq!(code(plans.take(id, other, now)), "plan_changed");
        }
        assert_eq!(code(plans.check(id, now)), "taken");
        assert_eq!(code(plans.take(id, shown, now)), "taken");
        assert_eq!(code(plans.take(id, shown, now)), "plan_used");
        assert_eq!(code(plans.check(id, now)), "plan_used");
        assert_eq!(code(plans.take(Uuid::now_v7(), shown, now)), "plan_expired");
    }

    #[test]
    fn plans_end_with_time_and_number() {
        let (plans, now) = (Plans::default(), SystemClock.monotonic());
        let shown = sum(1, &[], &[]);
        let (first, lifetime) = plans.show(shown, now);
        let late = now + lifetime;
        assert_eq!(code(plans.take(first, shown, late)), "plan_expired");
        let (first, _) = plans.show(shown, late);
        for _ in 0..MOST {
            plans.show(shown, late);
        }
        assert_eq!(plans.lock().len(), MOST);
        assert_eq!(code(plans.take(first, shown, late)), "plan_expired");
    }
}
