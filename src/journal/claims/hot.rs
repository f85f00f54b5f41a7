//! [`Hot`]: the newest claims, in the order they were made and by key.

use std::collections::VecDeque;

use hashbrown::HashTable;

use super::super::record::ClaimKey;
use super::Made;
use crate::journal::Seq;

/// The newest claims: 32 bytes each, and 5 or more for the way from the key to it.
#[derive(Debug, Default)]
pub(super) struct Hot {
    order: VecDeque<Made>,
    /// How many were before those in `order`. A claim's place is its index in `order` and this.
    before: u32,
    /// The place of the newest claim of each key. Keys are hashes already.
    places: HashTable<u32>,
}

impl Hot {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Made> {
        self.order.iter()
    }

    /// The newest claim of this key.
    pub(super) fn newest(&self, key: ClaimKey) -> Option<Made> {
        let (order, before) = (&self.order, self.before);
        let place = self
            .places
            .find(hash(key), |place| at(order, before, *place).key == key)?;
        Some(*at(order, before, *place))
    }

    /// Takes a claim, which is the newest of its key from now on.
    pub(super) fn push(&mut self, made: Made) {
        let place = self.before.wrapping_add(self.order.len() as u32);
        self.order.push_back(made);
        let (order, before) = (&self.order, self.before);
        let entry = self.places.entry(
            hash(made.key),
            |place| at(order, before, *place).key == made.key,
            |place| hash(at(order, before, *place).key),
        );
        *entry.or_insert(place).get_mut() = place;
    }

    /// Takes back the claims of events after `seq`. An older claim of the same key is not there any
    /// more: it had ended, or there would be no newer one.
    pub(super) fn take_back_after(&mut self, seq: Seq) {
        while self.order.back().is_some_and(|made| made.seq > seq) {
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

    /// No key leads to this claim any more. A newer one of the same key stays.
    fn forget(&mut self, index: usize) {
        let place = self.before.wrapping_add(index as u32);
        let key = self.order[index].key;
        let found = self.places.find_entry(hash(key), |other| *other == place);
        if let Ok(found) = found {
            found.remove();
        }
    }
}

fn at(order: &VecDeque<Made>, before: u32, place: u32) -> &Made {
    &order[place.wrapping_sub(before) as usize]
}

fn hash(key: ClaimKey) -> u64 {
    key as u64
}
