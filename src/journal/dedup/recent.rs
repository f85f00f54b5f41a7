//! [`Recent`]: entries in memory.

use hashbrown::HashTable;

use super::tuning::DedupTuning;
use crate::journal::dedup_entry::DedupEntry;
use crate::journal::{KeyHash, Seq};

/// Entries in memory: 32 bytes each, and 5 or more for the map from the key to the entry.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Oldest first.
    pub(super) entries: Vec<DedupEntry>,
    /// The place in `entries` of the newest entry of each key. Keys are hashes already.
    places: HashTable<u32>,
}

impl Recent {
    /// Has room for a segment and what comes while it is sealed: growing later would move all
    /// entries in one step. The system gives the memory as it is used.
    pub(super) fn with_room(tuning: DedupTuning) -> Self {
        let room = tuning.segment_length + tuning.eighth();
        Self {
            entries: Vec::with_capacity(room),
            places: HashTable::with_capacity(room),
        }
    }

    pub(super) fn newest(&self, key: KeyHash) -> Option<DedupEntry> {
        let is_key = |place: &u32| self.entries[*place as usize].hash == key;
        let place = self.places.find(hash(key), is_key)?;
        Some(self.entries[*place as usize])
    }

    /// Returns the entries of bodies after `seq`.
    pub(super) fn after(&self, seq: Seq) -> &[DedupEntry] {
        let start = { &self.entries }.partition_point(|entry| entry.position.seq() <= seq);
        &self.entries[start..]
    }

    pub(super) fn push(&mut self, entry: DedupEntry) {
        let place = self.entries.len() as u32;
        self.entries.push(entry);
        let entries = &self.entries;
        let found = self.places.entry(
            hash(entry.hash),
            |place| entries[*place as usize].hash == entry.hash,
            |place| hash(entries[*place as usize].hash),
        );
        *found.or_insert(place).get_mut() = place;
    }

    /// Removes the entries of bodies after `seq`. An older entry of the same key does not return: its
    /// window had ended, or there would be no newer one. That of a state may be missed then, and an
    /// event be new once more.
    pub(super) fn take_back_after(&mut self, seq: Seq) {
        while let Some(newest) = self.entries.last()
            && newest.position.seq() > seq
        {
            let place = self.entries.len() as u32 - 1;
            if let Ok(found) =
                { &mut self.places }.find_entry(hash(newest.hash), |other| *other == place)
            {
                found.remove();
            }
            self.entries.pop();
        }
    }
}

fn hash(key: KeyHash) -> u64 {
    key as u64
}
