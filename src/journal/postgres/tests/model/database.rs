//! [`Database`]: what the functions of functions.sql do, in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use uuid::Uuid;

use super::{CONSUMERS, SHARES};
use crate::journal::postgres::batch::{Keys, PartOf};
use crate::journal::postgres::division::{Seen, SeenShare};
use crate::journal::postgres::reading::{StoredBlock, Witness};
use crate::journal::{Grant, Position, Record, Seq, Share};

#[derive(Clone, Default)]
pub(super) struct State {
    batches: Vec<Batch>,
    claims: HashMap<Uuid, Position>,
    pub(super) instances: BTreeMap<Uuid, Known>,
    shares: Vec<SeenShare>,
    /// How far each consumer is in each share.
    progress: BTreeMap<(u8, Share), Saved>,
    /// The document, and the number of the newest change.
    pub(super) subscription: Option<Subscription>,
    pub(super) documents: u64,
    /// Those that are left, and the number of the newest.
    pub(super) commands: BTreeSet<(Share, Ordered)>,
    pub(super) newest_command: Ordered,
    /// What commands have set in each share.
    pub(super) values: BTreeMap<Share, Ordered>,
}

/// What is stored of an instance.
#[derive(Clone, Copy)]
pub(super) struct Known {
    beat: Uuid,
    lease: Duration,
    /// The newest change of documents that it has applied.
    pub(super) applied: u64,
}

/// A document, and the number of the change that has made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) id: Uuid,
    pub(super) version: u64,
}

/// The number of a command.
pub(super) type Ordered = u64;

/// Stored progress.
#[derive(Clone, Copy)]
pub(super) struct Saved {
    pub(super) head: Seq,
    pub(super) edition: Uuid,
}

/// A change of progress: what was done after `from`, up to `to`.
#[derive(Clone)]
pub(super) struct Change {
    pub(super) grant: Grant,
    pub(super) consumer: u8,
    pub(super) from: Seq,
    pub(super) to: Seq,
    /// What it may have been made from, and what it becomes.
    pub(super) known: Vec<Uuid>,
    pub(super) edition: Uuid,
}

#[derive(Clone)]
struct Batch {
    id: Uuid,
    records: std::sync::Arc<[Record]>,
}

pub(super) struct Database {
    pub(super) state: State,
    /// What it was before the newest commits.
    before: VecDeque<State>,
    /// Whether what was stored has been lost at some time.
    pub(super) has_gone_back: bool,
}

/// What a beat returns.
pub(super) struct Beat {
    pub(super) is_alive: bool,
    pub(super) head: Seq,
    pub(super) instances: Vec<Seen>,
    pub(super) shares: Vec<SeenShare>,
    pub(super) documents: u64,
}

impl Database {
    pub(super) fn new() -> Self {
        let shares = (0..=SHARES).map(|no| SeenShare {
            no,
            holder: None,
            epoch: 0,
        });
        let nothing = Saved {
            head: 0,
            edition: Uuid::nil(),
        };
        let state = State {
            shares: shares.collect(),
            progress: (0..CONSUMERS)
                .flat_map(|consumer| (0..=SHARES).map(move |share| ((consumer, share), nothing)))
                .collect(),
            ..State::default()
        };
        Self {
            state,
            before: VecDeque::new(),
            has_gone_back: false,
        }
    }

    /// Changes something, so that it can be taken back.
    pub(super) fn commit(&mut self) -> &mut State {
        if self.before.len() == 8 {
            self.before.pop_front();
        }
        self.before.push_back(self.state.clone());
        &mut self.state
    }

    pub(super) fn go_back(&mut self, commits: usize) {
        self.has_gone_back = true;
        for _ in 0..commits {
            self.state = self.before.pop_back().unwrap_or_else(|| self.state.clone());
        }
    }

    pub(super) fn head(&self) -> Seq {
        let newest = self.state.batches.last();
        newest
            .and_then(|batch| batch.records.last())
            .map_or(0, |record| record.seq)
    }

    pub(super) fn newest(&self) -> Option<Witness> {
        { self.blocks(self.head().saturating_sub(1), 1, &[]).pop() }.map(|block| block.witness)
    }

    pub(super) fn log(&self) -> Vec<Record> {
        self.state
            .batches
            .iter()
            .flat_map(|batch| batch.records.iter().cloned())
            .collect()
    }

    pub(super) fn join(&mut self, id: Uuid, beat: Uuid, lease: Duration, applied: u64) {
        let known = Known {
            beat,
            lease,
            applied,
        };
        self.commit().instances.insert(id, known);
    }

    /// Stores bodies, or returns which keys are held. `records` makes them from the first number.
    pub(super) fn append(
        &mut self,
        id: Uuid,
        keys: &Keys,
        records: impl Fn(Seq) -> Vec<Record>,
    ) -> Result<Seq, Vec<(PartOf, Position)>> {
        let asked = keys.of.iter().zip(&keys.keys);
        let held = asked.filter_map(|(of, key)| Some((*of, *self.state.claims.get(key)?)));
        let held: Vec<_> = held.collect();
        if !held.is_empty() {
            return Err(held);
        }
        let first = self.head() + 1;
        let state = self.commit();
        for ((key, nth), part) in keys.keys.iter().zip(&keys.nth).zip(&keys.parts) {
            let position = Position::new(first + *nth as Seq, *part as u16);
            state.claims.insert(*key, position);
        }
        state.batches.push(Batch {
            id,
            records: records(first).into(),
        });
        Ok(first)
    }

    /// Returns the next blocks after a body, at most `most`.
    pub(super) fn blocks(&self, after: Seq, most: usize, left_out: &[Uuid]) -> Vec<StoredBlock> {
        let later = self
            .state
            .batches
            .iter()
            .filter(|batch| last(batch) > after && !left_out.contains(&batch.id));
        let blocks = later.take(most).map(|batch| StoredBlock {
            records: batch
                .records
                .iter()
                .filter(|record| record.seq > after)
                .cloned()
                .collect(),
            witness: Witness {
                last: last(batch),
                batch: batch.id,
            },
        });
        blocks.collect()
    }

    pub(super) fn record(&self, seq: Seq) -> Option<Record> {
        self.blocks(seq - 1, 1, &[])
            .into_iter()
            .flat_map(|block| block.records)
            .next()
    }

    pub(super) fn has(&self, witness: Witness) -> bool {
        let mut batches = self.state.batches.iter();
        batches.any(|batch| batch.id == witness.batch && last(batch) == witness.last)
    }

    pub(super) fn beat(&mut self, id: Uuid, beat: Uuid, applied: u64) -> Beat {
        let state = self.commit();
        let own = state.instances.get_mut(&id);
        let is_alive = own
            .map(|own| (own.beat, own.applied) = (beat, applied))
            .is_some();
        Beat {
            is_alive,
            head: self.head(),
            instances: { self.state.instances.iter() }
                .map(|(&id, &Known { beat, lease, .. })| Seen { id, beat, lease })
                .collect(),
            shares: self.state.shares.clone(),
            documents: self.state.documents,
        }
    }

    pub(super) fn bury(&mut self, id: Uuid, beat: Uuid) {
        if { self.state.instances.get(&id) }.is_some_and(|seen| seen.beat == beat) {
            self.commit().instances.remove(&id);
        }
    }

    pub(super) fn leave(&mut self, id: Uuid) {
        let state = self.commit();
        state.instances.remove(&id);
        for share in &mut state.shares {
            share.holder = share.holder.filter(|holder| *holder != id);
        }
    }

    /// Takes a share without a living holder. Returns the new epoch.
    pub(super) fn take(&mut self, no: Share, epoch: u64, holder: Uuid) -> Option<u64> {
        let share = self.state.shares[usize::from(no)];
        let lives = |id: &Uuid| self.state.instances.contains_key(id);
        let others = share.holder.filter(|other| *other != holder);
        if share.epoch != epoch || others.as_ref().is_some_and(lives) || !lives(&holder) {
            return None;
        }
        let share = &mut self.commit().shares[usize::from(no)];
        share.holder = Some(holder);
        share.epoch += 1;
        Some(share.epoch)
    }

    pub(super) fn give_back(&mut self, grant: Grant) {
        if self.is_held(grant) {
            self.commit().shares[usize::from(grant.share)].holder = None;
        }
    }

    pub(super) fn saved(&self, consumer: u8, share: Share) -> Saved {
        self.state.progress[&(consumer, share)]
    }

    /// Saves progress, unless it is fenced, or made from another one than is stored.
    pub(super) fn save(&mut self, change: &Change) -> bool {
        let place = (change.consumer, change.grant.share);
        let stored = self.state.progress[&place];
        if !self.is_held(change.grant) || !change.known.contains(&stored.edition) {
            return false;
        }
        assert!(
            change.from <= stored.head && stored.head <= change.to,
            "{} is saved after {}, and {} is stored",
            change.to,
            change.from,
            stored.head
        );
        let saved = Saved {
            head: change.to,
            edition: change.edition,
        };
        self.commit().progress.insert(place, saved);
        true
    }

    pub(super) fn is_held(&self, grant: Grant) -> bool {
        let share = self.state.shares[usize::from(grant.share)];
        share.holder == Some(grant.holder) && share.epoch == grant.epoch
    }
}

fn last(batch: &Batch) -> Seq {
    batch.records.last().map_or(0, |record| record.seq)
}
