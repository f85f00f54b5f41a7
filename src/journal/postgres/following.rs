//! [`Following`]: puts the log into the tail in order, own bodies from memory and those of other instances from
//! the database.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

use super::reading::{StoredBlock, Witness};
use crate::journal::{Record, Seq, Tail};

/// Bodies that this instance has appended.
#[derive(Debug)]
pub(super) struct OwnBodies {
    pub(super) batch: Uuid,
    /// At least one, in order.
    pub(super) records: Vec<Record>,
}

#[derive(Debug)]
pub(super) struct Following {
    tail: Arc<Tail>,
    /// The newest body that is known to exist.
    newest: AtomicU64,
    state: Mutex<FollowingState>,
    /// The newest deletion that is known to exist, and the newest one that was applied.
    deletions: AtomicU64,
    pub(super) applied_deletions: AtomicU64,
    /// Wakes the task that reads.
    pub(super) wake: Notify,
}

#[derive(Debug, Default)]
struct FollowingState {
    /// Own bodies that wait for others before them, by their first number.
    waiting: BTreeMap<Seq, OwnBodies>,
    /// Oldest first.
    witnesses: VecDeque<Witness>,
}

impl Following {
    pub(super) fn new(tail: Arc<Tail>, newest: Option<Witness>, deletions: u64) -> Self {
        let state = FollowingState {
            waiting: BTreeMap::new(),
            witnesses: newest.into_iter().collect(),
        };
        Self {
            newest: AtomicU64::new(tail.head()),
            tail,
            state: Mutex::new(state),
            deletions: AtomicU64::new(deletions),
            applied_deletions: AtomicU64::new(deletions),
            wake: Notify::new(),
        }
    }

    /// Takes bodies that this instance has appended. Publishes them if all before them are published.
    pub(super) fn offer(&self, own: OwnBodies) {
        let (Some(first), Some(last)) = (own.records.first(), own.records.last()) else {
            return;
        };
        let (first, last) = (first.seq, last.seq);
        let mut state = self.lock();
        if last > self.tail.head() && state.waiting.len() < MAX_WAITING {
            state.waiting.insert(first, own);
        }
        self.publish_waiting(&mut state);
        let is_behind = self.tail.head() < last;
        drop(state);
        if is_behind {
            self.heard(last);
        }
    }

    /// Takes blocks that were read after the head. Returns false if bodies are missing before one of them while own ones were
    /// left out: they were trimmed, or the log went back. The caller reads again with all.
    pub(super) fn take(&self, blocks: Vec<StoredBlock>, own_left_out: bool) -> bool {
        let mut state = self.lock();
        for block in blocks {
            self.publish_waiting(&mut state);
            let head = self.tail.head();
            let later = block.records.into_iter().filter(|record| record.seq > head);
            let later: Vec<Record> = later.collect();
            if let Some(first) = later.first() {
                if first.seq > head + 1 {
                    if own_left_out {
                        return false;
                    }
                    // Those between were trimmed; what the tail holds has no gap.
                    self.tail.remove_up_to(first.seq - 1);
                }
                self.tail.publish(later);
                state.witness(block.witness);
            }
        }
        self.publish_waiting(&mut state);
        true
    }

    fn publish_waiting(&self, state: &mut FollowingState) {
        while let Some(entry) = state.waiting.first_entry() {
            let head = self.tail.head();
            if *entry.key() > head + 1 {
                return;
            }
            let own = entry.remove();
            // Reading may have gone beyond it; then newer ones were seen.
            let last = own.records.last().map(|record| record.seq);
            let Some(last) = last.filter(|last| *last > head) else {
                continue;
            };
            let later = own.records.into_iter().filter(|record| record.seq > head);
            self.tail.publish(later);
            state.witness(Witness {
                last,
                batch: own.batch,
            });
        }
    }

    /// Takes note of a body that exists.
    pub(super) fn heard(&self, head: Seq) {
        self.newest.fetch_max(head, Ordering::SeqCst);
        if head > self.tail.head() {
            self.wake.notify_one();
        }
    }

    /// Returns how many bodies are known to exist that were not read.
    pub(super) fn behind(&self) -> u64 {
        let newest = self.newest.load(Ordering::SeqCst);
        newest.saturating_sub(self.tail.head())
    }

    /// Takes note of a deletion that exists; the newest one if its number is not known.
    pub(super) fn heard_deletion(&self, number: Option<u64>) {
        let number = number.unwrap_or_else(|| self.applied_deletions.load(Ordering::SeqCst) + 1);
        self.deletions.fetch_max(number, Ordering::SeqCst);
        if self.is_behind_deletions() {
            self.wake.notify_one();
        }
    }

    /// The newest deletion is this one. If the database has lost newer ones, all are read again.
    pub(super) fn limit_deletions(&self, newest: u64) {
        self.deletions.store(newest, Ordering::SeqCst);
        if newest < self.applied_deletions.load(Ordering::SeqCst) {
            self.applied_deletions.store(0, Ordering::SeqCst);
        }
    }

    pub(super) fn is_behind_deletions(&self) -> bool {
        self.deletions.load(Ordering::SeqCst) > self.applied_deletions.load(Ordering::SeqCst)
    }

    /// Returns which own batches wait for others before them. They need not be read.
    pub(super) fn own_waiting(&self) -> Vec<Uuid> {
        let state = self.lock();
        state.waiting.values().map(|own| own.batch).collect()
    }

    /// Returns what this instance has seen or appended, newest last.
    pub(super) fn witnesses(&self) -> Vec<Witness> {
        let state = self.lock();
        let waiting = state.waiting.values().filter_map(|own| {
            let last = own.records.last()?.seq;
            Some(Witness {
                last,
                batch: own.batch,
            })
        });
        state.witnesses.iter().copied().chain(waiting).collect()
    }

    /// The last one of these.
    pub(super) fn newest_witness(&self) -> Option<Witness> {
        self.witnesses().pop()
    }

    /// Begins again after this body, because the log went back.
    pub(super) fn reset(&self, newest: Option<Witness>) {
        let head = newest.map_or(0, |newest| newest.last);
        let mut state = self.lock();
        state.waiting.clear();
        state.witnesses.retain(|witness| witness.last < head);
        state.witnesses.extend(newest);
        self.newest.store(head, Ordering::SeqCst);
        self.tail.reset(head);
    }

    pub(super) fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    fn lock(&self) -> MutexGuard<'_, FollowingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FollowingState {
    fn witness(&mut self, witness: Witness) {
        if self.witnesses.len() == MAX_WITNESSES {
            self.witnesses.pop_front();
        }
        self.witnesses.push_back(witness);
    }
}

/// So many own batches wait in memory; others are read from the database.
const MAX_WAITING: usize = 16;

/// How far back the last common body can be found after the log went back.
const MAX_WITNESSES: usize = 4096;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::Timestamp;
    use crate::journal::contract::numbered;
    use crate::journal::postgres::batch::Plan;

    fn records(seqs: impl IntoIterator<Item = Seq>) -> Vec<Record> {
        let one = |seq: Seq| {
            let entries = [numbered(seq.into())];
            let plan = Plan::of(entries.iter(), &HashMap::new());
            plan.records(entries.iter(), seq, Timestamp::UNIX_EPOCH, 1)
        };
        seqs.into_iter().flat_map(one).collect()
    }

    fn block(seqs: std::ops::RangeInclusive<Seq>) -> StoredBlock {
        StoredBlock {
            witness: Witness {
                last: *seqs.end(),
                batch: Uuid::now_v7(),
            },
            records: records(seqs),
        }
    }

    /// Where retention has removed what this instance had not read yet, the tail has no gap.
    #[test]
    fn a_gap_of_retention_leaves_no_gap_in_the_tail() {
        let following = Following::new(Arc::new(Tail::new(0)), None, 0);
        assert!(following.take(vec![block(1..=2)], false));
        assert!(following.take(vec![block(7..=8), block(9..=9)], false));
        let tail = following.tail();
        assert_eq!((tail.head(), tail.removed()), (9, 6));
        for seq in 1..=9 {
            let found = tail.get(seq).map(|record| record.seq);
            assert_eq!(found, (seq > 6).then_some(seq));
        }
    }
    /// The newest body is the witness, also when an own one before it waited.
    #[test]
    fn an_own_body_that_was_read_is_no_witness() {
        let following = Following::new(Arc::new(Tail::new(0)), None, 0);
        following.offer(OwnBodies {
            batch: Uuid::now_v7(),
            records: records(4..=4),
        });
        assert!(following.take(vec![block(1..=3), block(4..=4), block(5..=6)], false));
        let seen = following.witnesses();
        let seen: Vec<Seq> = seen.iter().map(|witness| witness.last).collect();
        assert_eq!(seen, [3, 4, 6]);
        assert!(following.own_waiting().is_empty());
    }

    /// Own bodies are not read again: they come between those of others. Where they are not there any more, nothing is
    /// skipped.
    #[test]
    fn own_bodies_come_from_memory() {
        let following = Following::new(Arc::new(Tail::new(0)), None, 0);
        let mut own = Vec::new();
        for seqs in [2..=3, 5..=5] {
            let batch = Uuid::now_v7();
            following.offer(OwnBodies {
                batch,
                records: records(seqs),
            });
            own.push(batch);
        }
        assert_eq!(following.own_waiting(), own);
        let others = || vec![block(1..=1), block(4..=4), block(6..=6)];
        assert!(following.take(others(), true));
        assert_eq!(following.tail().head(), 6);
        for seq in 1..=6 {
            assert_eq!(
                following.tail().get(seq).map(|record| record.seq),
                Some(seq)
            );
        }
        assert!(following.own_waiting().is_empty());

        following.reset(None);
        assert!(!following.take(others(), true));
        assert_eq!(following.tail().head(), 1);
        assert!(following.take(vec![block(2..=3), block(4..=4)], false));
        assert_eq!(following.tail().head(), 4);
    }

    #[test]
    fn what_was_heard_of_and_not_read_is_counted() {
        let following = Following::new(Arc::new(Tail::new(2)), None, 0);
        assert_eq!(following.behind(), 0);
        following.heard(7);
        following.heard(5);
        assert_eq!(following.behind(), 5);
        following.take(vec![block(3..=6)], false);
        assert_eq!(following.behind(), 1);
        // The log has gone back.
        following.reset(None);
        assert_eq!(following.behind(), 0);
    }
}
