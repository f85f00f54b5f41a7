//! [`Recent`]: the newest entries, in the order they were added and by key.

use std::collections::VecDeque;

use hashbrown::HashTable;

use super::entry::DedupEntry;
use crate::journal::{KeyHash, Seq};

/// The newest entries: 32 bytes each, and 5 or more for the map from the key to the entry.
#[derive(Debug, Default)]
pub(super) struct Recent {
    order: VecDeque<DedupEntry>,
    /// How many entries came before those in `order`. An entry's place is its index in `order` plus
    /// this.
    before: u32,
    /// The place of the newest entry of each key. Keys are hashes already.
    places: HashTable<u32>,
}

impl Recent {
    /// Returns how many entries there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Returns all entries, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &DedupEntry> {
        self.order.iter()
    }

    /// Returns the newest entry of this key.
    pub(super) fn newest(&self, key: KeyHash) -> Option<DedupEntry> {
        let (order, before) = (&self.order, self.before);
        let place = self
            .places
            .find(hash(key), |place| at(order, before, *place).hash == key)?;
        Some(*at(order, before, *place))
    }

    /// Adds an entry, which becomes the newest of its key.
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

    /// Removes the entries of bodies after `seq`. An older entry of the same key does not return:
    /// its window had ended, or there would be no newer one.
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

    /// Removes the `count` oldest entries.
    pub(super) fn forget_oldest(&mut self, count: usize) {
        for index in 0..count {
            self.forget(index);
        }
        self.order.drain(..count);
        self.before = self.before.wrapping_add(count as u32);
    }

    /// Removes the key of this entry from the map, unless a newer entry has the same key.
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
