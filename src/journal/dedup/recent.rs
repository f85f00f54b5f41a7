//! [`Recent`]: the newest entries, in the order they were added and by key.

use std::collections::VecDeque;

use hashbrown::HashTable;

use super::entry::DedupEntry;
use crate::journal::{KeyHash, Seq};

/// The newest entries: 32 bytes each, and 5 or more for the way from the key to it.
#[derive(Debug, Default)]
pub(super) struct Recent {
    order: VecDeque<DedupEntry>,
    /// How many were before those in `order`. An entry's place is its index in `order` and this.
    before: u32,
    /// The place of the newest entry of each key. Keys are hashes already.
    places: HashTable<u32>,
}

impl Recent {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &DedupEntry> {
        self.order.iter()
    }

    /// The newest entry of this key.
    pub(super) fn newest(&self, key: KeyHash) -> Option<DedupEntry> {
        let (order, before) = (&self.order, self.before);
        let place = self
            .places
            .find(hash(key), |place| at(order, before, *place).hash == key)?;
        Some(*at(order, before, *place))
    }

    /// Adds an entry, which is the newest of its key from now on.
    pub(super) fn push(&mut self, entry: DedupEntry) {
        let place = self.before.wrapping_add(self.order.len() as u32);
        self.order.push_back(entry);
        let (order, before) = (&self.order, self.before);
        let found = self.places.entry(
            hash(entry.hash),
            |place| at(order, before, *place).hash == entry.hash,
            |place| hash(at(order, before, *place).hash),
        );
        *found.or_insert(place).get_mut() = place;
    }

    /// Takes back the entries of events after `seq`. An older entry of the same key is gone: it
    /// had ended, or there would be no newer one.
    pub(super) fn take_back_after(&mut self, seq: Seq) {
        while self
            .order
            .back()
            .is_some_and(|entry| entry.position.seq() > seq)
        {
            let last = self.order.len() - 1;
            self.forget(last);
            self.order.pop_back();
        }
    }

    /// Forgets the `count` oldest.
    pub(super) fn forget_oldest(&mut self, count: usize) {
        for index in 0..count {
            self.forget(index);
        }
        self.order.drain(..count);
        self.before = self.before.wrapping_add(count as u32);
    }

    /// No key leads to this entry any more. A newer one of the same key stays.
    fn forget(&mut self, index: usize) {
        let place = self.before.wrapping_add(index as u32);
        let key = self.order[index].hash;
        let found = self.places.find_entry(hash(key), |other| *other == place);
        if let Ok(found) = found {
            found.remove();
        }
    }
}

fn at(order: &VecDeque<DedupEntry>, before: u32, place: u32) -> &DedupEntry {
    &order[place.wrapping_sub(before) as usize]
}

fn hash(key: KeyHash) -> u64 {
    key as u64
}
