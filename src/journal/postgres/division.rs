//! The decisions about leases, without a database: which instance has vanished, which shares to take and to let go.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::journal::{Grant, Share};

/// The beats of other instances, and when each was first seen, by this instance's own clock.
#[derive(Debug, Default)]
pub(super) struct Others(HashMap<Uuid, (Uuid, Instant)>);

/// An instance, as the last beat has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) id: Uuid,
    pub(super) beat: Uuid,
    /// Its own lease, by which it stops.
    pub(super) lease: Duration,
}

/// A share, as the last beat has seen it.
#[derive(Debug, Clone, Copy)]
pub(super) struct SeenShare {
    pub(super) no: Share,
    pub(super) holder: Option<Uuid>,
    pub(super) epoch: u64,
}

/// What is to be done with a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Take it, unless its epoch has changed meanwhile.
    Take { no: Share, epoch: u64 },
    /// Let another instance have it, once everything of it is saved.
    LetGo(Share),
}

impl Others {
    /// Takes note of the beats of all instances. Returns those that have not changed for a whole lease, with that
    /// beat. While the settings of instances differ, that is the longer one of both.
    pub(super) fn vanished(
        &mut self,
        own: Uuid,
        all: &[Seen],
        now: Instant,
        lease: Duration,
    ) -> Vec<(Uuid, Uuid)> {
        self.0.retain(|id, _| all.iter().any(|one| one.id == *id));
        let mut vanished = Vec::new();
        for one in all.iter().filter(|one| one.id != own) {
            let seen = self.0.entry(one.id).or_insert((one.beat, now));
            if seen.0 != one.beat {
                *seen = (one.beat, now);
            } else if now.saturating_duration_since(seen.1) >= lease.max(one.lease) {
                vanished.push((one.id, one.beat));
            }
        }
        vanished
    }

    /// Begins to watch again: nothing was seen while this instance did not run.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// Returns how long an instance may use its shares after it has sent a renewal: less than a lease, so that it has stopped
/// before others take them.
pub(super) fn valid_for(lease: Duration) -> Duration {
    lease.mul_f64(0.8)
}

/// Returns which grants are still this instance's.
pub(super) fn still_held(
    held: &BTreeMap<Share, Grant>,
    seen: &[SeenShare],
    own: Uuid,
) -> BTreeMap<Share, Grant> {
    let is_held = |grant: &Grant| {
        let found = seen.iter().find(|share| share.no == grant.share);
        found.is_some_and(|found| found.holder == Some(own) && found.epoch == grant.epoch)
    };
    held.iter()
        .filter(|(_, grant)| is_held(grant))
        .map(|(no, grant)| (*no, *grant))
        .collect()
}

/// Whether the database has lost that a share was taken: it shows an older epoch than the one that is held.
pub(super) fn has_gone_back(held: &BTreeMap<Share, Grant>, seen: &[SeenShare]) -> bool {
    let is_older =
        |share: &SeenShare| { held.get(&share.no) }.is_some_and(|grant| share.epoch < grant.epoch);
    seen.iter().any(is_older)
}

/// Decides what to take and to let go: each living instance holds about as many of the `shares` as the others. The
/// housekeeper's share, whose number is `shares`, does not count.
pub(super) fn steps(
    own: Uuid,
    living: &[Uuid],
    seen: &[SeenShare],
    held: &BTreeMap<Share, Grant>,
    shares: Share,
) -> Vec<Step> {
    let fair = usize::from(shares).div_ceil(living.len().max(1));
    let counted = |grant: &&Grant| grant.share < shares && !grant.is_ending;
    let mut mine = held.values().filter(counted).count();
    let mut steps = Vec::new();
    // Each instance begins at another share, so that few want the same one.
    let start = (own.as_u128() % seen.len().max(1) as u128) as usize;
    let (later, first) = seen.split_at(start.min(seen.len()));
    for share in first.iter().chain(later) {
        // One of its own that it does not hold: an answer was lost, or a save was refused.
        let is_left = share.holder == Some(own) && !held.contains_key(&share.no);
        let is_free = share.holder.is_none_or(|holder| !living.contains(&holder));
        if is_left || (is_free && (share.no >= shares || mine < fair)) {
            steps.push(Step::Take {
                no: share.no,
                epoch: share.epoch,
            });
            mine += usize::from(share.no < shares);
        }
    }
    if mine > fair {
        let last = held.values().rfind(counted);
        steps.extend(last.map(|grant| Step::LetGo(grant.share)));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn seen(holders: &[Option<u128>]) -> Vec<SeenShare> {
        let numbered = holders.iter().zip(0..);
        let seen = numbered.map(|(holder, no)| SeenShare {
            no,
            holder: holder.map(id),
            epoch: 7,
        });
        seen.collect()
    }

    #[test]
    fn an_unchanged_beat_ends_a_life() {
        let (start, lease) = (SystemClock.monotonic(), Duration::from_secs(10));
        let mut others = Others::default();
        let mut theirs = lease;
        let mut vanished = |beat, seconds, theirs| {
            let one = |id, beat, lease| Seen { id, beat, lease };
            let all = [one(id(1), id(100), lease), one(id(2), id(beat), theirs)];
            let now = start + Duration::from_secs(seconds);
            others.vanished(id(1), &all, now, lease)
        };
        let dead = [(id(2), id(2))];
        assert_eq!(vanished(1, 0, theirs), []);
        assert_eq!(vanished(1, 9, theirs), []);
        assert_eq!(vanished(2, 10, theirs), []);
        assert_eq!(vanished(2, 19, theirs), []);
        assert_eq!(vanished(2, 20, theirs), dead);
        assert!(valid_for(lease) < lease);
        // The settings change, and it goes by the old ones.
        theirs = 6 * lease;
        assert_eq!(vanished(2, 69, theirs), []);
        assert_eq!(vanished(2, 70, theirs), dead);
        assert_eq!(vanished(3, 71, lease / 2), []);
        assert_eq!(vanished(3, 80, lease / 2), []);
    }

    #[test]
    fn shares_are_divided_fairly() {
        let own = id(12);
        let grant = |share| Grant {
            share,
            epoch: 7,
            is_ending: false,
            holder: own,
        };
        let held = |shares: &[Share]| shares.iter().map(|no| (*no, grant(*no))).collect();
        let take = |no| Step::Take { no, epoch: 7 };
        let all = [own, id(2)];
        // The last of five is the housekeeper's.
        // The living, the holders, the own shares, and what is to be done.
        type Row<'a> = (&'a [Uuid], [Option<u128>; 5], &'a [Share], Vec<Step>);
        let table: [Row<'_>; 6] = [
            (
                &[own],
                [None; 5],
                &[],
                vec![take(2), take(3), take(4), take(0), take(1)],
            ),
            (
                &all,
                [Some(2), Some(2), None, None, Some(2)],
                &[],
                vec![take(2), take(3)],
            ),
            (
                &all,
                [Some(2), None, None, None, Some(9)],
                &[],
                vec![take(2), take(3), take(4)],
            ),
            (&all, [Some(12); 5], &[0, 1, 2, 3, 4], vec![Step::LetGo(3)]),
            (
                &all,
                [Some(12), Some(12), Some(2), Some(2), Some(12)],
                &[0, 1, 4],
                vec![],
            ),
            (
                &all,
                [Some(12), Some(12), Some(2), Some(2), Some(12)],
                &[0],
                vec![take(4), take(1)],
            ),
        ];
        for (living, holders, own_shares, expected) in table {
            let found = steps(own, living, &seen(&holders), &held(own_shares), 4);
            assert_eq!(found, expected, "{holders:?}");
        }
        let taken = seen(&[Some(12), Some(2), None]);
        let left = still_held(&held(&[0, 1, 2]), &taken, own);
        assert_eq!(left.into_keys().collect::<Vec<_>>(), [0]);

        let mut older = seen(&[Some(12), Some(2)]);
        assert!(!has_gone_back(&held(&[0, 1]), &older));
        older[1].epoch = 6;
        assert!(has_gone_back(&held(&[0, 1]), &older));
        assert!(!has_gone_back(&held(&[0]), &older));
    }
}
