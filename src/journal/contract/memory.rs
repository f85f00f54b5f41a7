//! [`Memory`]: a journal that ends with the process, for tests.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::Timestamp;
use crate::clock::Clock;
use crate::journal::{
    Appended, DeadLetter, DeadLetters, Deletion, Desk, Desks, Document, Documents, Entry, Expected,
    KeptPart, KeyHash, Log, NamedLetter, Parts, Position, ProgressChange, PutError, Record,
    SavedProgress, Seq, Share, Tail, Unavailable, Version,
};

/// A journal in memory. Several instances may share one.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<MemoryState>,
    shares: Share,
    tail: Arc<Tail>,
    documents: watch::Sender<Version>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct MemoryState {
    records: Vec<Record>,
    deletions: Vec<Deletion>,
    /// The number of the last deletion.
    deleted: u64,
    keys: HashMap<KeyHash, (Position, i64)>,
    saved: BTreeMap<(String, Share), MemoryProgress>,
    /// How often the desk of each share was opened.
    epochs: BTreeMap<Share, u64>,
    dead: BTreeMap<(Position, String), DeadLetter>,
    documents: BTreeMap<String, Document>,
}

/// The progress of one consumer in one share.
#[derive(Debug, Default)]
struct MemoryProgress {
    head: Vec<u8>,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The desk of one share.
#[derive(Debug)]
struct MemoryDesk {
    journal: Memory,
    share: Share,
    epoch: u64,
}

impl Memory {
    /// Makes a journal with so many shares; at least one.
    pub fn new(clock: Arc<dyn Clock>, shares: Share) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::default(),
            shares: shares.max(1),
            tail: Arc::new(Tail::new(0)),
            documents: watch::Sender::new(0),
            clock,
        }))
    }

    /// What was saved last of a consumer in each share.
    #[cfg(test)]
    pub(in crate::journal) fn saved_everywhere(
        &self,
        consumer: &str,
    ) -> BTreeMap<Share, SavedProgress> {
        let state = self.lock();
        let saved =
            (0..self.0.shares).filter_map(|share| Some((share, state.saved(consumer, share)?)));
        saved.collect()
    }

    fn lock(&self) -> MutexGuard<'_, MemoryState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryState {
    fn saved(&self, consumer: &str, share: Share) -> Option<SavedProgress> {
        let saved = self.saved.get(&(consumer.to_owned(), share))?;
        Some(SavedProgress {
            head: saved.head.clone(),
            rows: saved.rows.clone().into_iter().collect(),
        })
    }
}

#[async_trait]
impl Log for Memory {
    async fn append(&self, entry: Entry) -> Result<Appended, Unavailable> {
        let time = self.0.clock.now();
        let now = time.as_millisecond();
        let mut state = self.lock();
        let original = |hash| state.keys.get(&hash).copied();
        let parts = (1..).zip(&entry.parts);
        let duplicates = parts.filter_map(|(part, own)| {
            let (position, until) = original(own.key.hash)?;
            let is_newest = own
                .key
                .state
                .is_none_or(|state| original(state).is_some_and(|(newest, _)| newest == position));
            let holds = is_newest && own.key.holds_until(until, now);
            holds.then_some((part, position))
        });
        let duplicates: Vec<_> = duplicates.collect();
        if !entry.parts.is_empty() && duplicates.len() == entry.parts.len() {
            let originals = duplicates.into_iter().map(|(_, original)| original);
            return Ok(Appended::Duplicate(originals.collect()));
        }
        let last = state.records.last();
        let seq = last.map_or(0, |record| record.seq) + 1;
        let kept_at = last.map_or(Timestamp::MIN, |record| record.kept_at);
        let mut kept = Vec::new();
        for (part, own) in (1..).zip(entry.parts) {
            let duplicate = duplicates.iter().any(|(other, _)| *other == part);
            if !duplicate {
                let held = (Position::new(seq, part), own.key.ends_at(now));
                state.keys.insert(own.key.hash, held);
                if let Some(hash) = own.key.state {
                    state.keys.insert(hash, held);
                }
            }
            kept.push(KeptPart {
                session: own.session,
                duplicate,
            });
        }
        let record = Record {
            seq,
            kept_at: kept_at.max(time),
            parts: Parts::several(kept, &entry.received, self.0.shares),
            received: entry.received,
            events: entry.events,
            missing: None,
        };
        state.records.push(record.clone());
        self.0.tail.publish([record]);
        Ok(Appended::New { seq, duplicates })
    }

    async fn read(&self, after: Seq, most: usize) -> Result<Vec<Record>, Unavailable> {
        let state = self.lock();
        let records = state.records.iter().filter(|record| record.seq > after);
        Ok(records.take(most).cloned().collect())
    }

    async fn trim(&self, up_to: Seq) -> Result<usize, Unavailable> {
        let mut state = self.lock();
        let newest = state.records.last().map_or(0, |record| record.seq);
        let before = state.records.len();
        let stays = |seq| seq > up_to || seq == newest;
        state.records.retain(|record| stays(record.seq));
        state.dead.retain(|(position, _), _| stays(position.seq()));
        state.deletions.retain(|deletion| stays(deletion.seq));
        self.0
            .tail
            .remove_up_to(up_to.min(newest.saturating_sub(1)));
        Ok(before - state.records.len())
    }

    async fn delete(&self, bodies: &[Seq]) -> Result<usize, Unavailable> {
        let at = self.0.clock.now();
        let mut state = self.lock();
        let state = &mut *state;
        let mut events = 0;
        for seq in bodies {
            let found = state.records.binary_search_by_key(seq, |record| record.seq);
            let Ok(index) = found else { continue };
            let record = &mut state.records[index];
            if record.missing.is_none() {
                events += record.parts.new_count();
                *record = record.without_body(at);
                state.deleted += 1;
                state.deletions.push(Deletion {
                    number: state.deleted,
                    seq: *seq,
                });
            }
            state.dead.retain(|(position, _), _| position.seq() != *seq);
        }
        self.0.tail.delete(bodies, at);
        Ok(events)
    }

    async fn deletions(&self, after: u64, most: usize) -> Result<Vec<Deletion>, Unavailable> {
        let state = self.lock();
        let later = state.deletions.iter().filter(|one| one.number > after);
        Ok(later.take(most).copied().collect())
    }

    async fn bytes(&self) -> Result<u64, Unavailable> {
        let state = self.lock();
        let bodies = state.records.iter().map(|record| &record.received.body);
        Ok(bodies.map(|body| body.len() as u64).sum())
    }

    fn tail(&self) -> &Arc<Tail> {
        &self.0.tail
    }

    fn is_ready(&self) -> bool {
        true
    }

    async fn close(&self) {}
}

#[async_trait]
impl Desks for Memory {
    fn shares(&self) -> Share {
        self.0.shares
    }

    async fn desk(&self, share: Share) -> Result<Arc<dyn Desk>, Unavailable> {
        let mut state = self.lock();
        let epoch = state.epochs.entry(share).or_default();
        *epoch += 1;
        Ok(Arc::new(MemoryDesk {
            journal: self.clone(),
            share,
            epoch: *epoch,
        }))
    }

    async fn introduce(&self, consumer: &str, head: &[u8]) -> Result<(), Unavailable> {
        let mut state = self.lock();
        for share in 0..self.0.shares {
            let saved = state.saved.entry((consumer.to_owned(), share));
            saved.or_insert_with(|| MemoryProgress {
                head: head.to_vec(),
                rows: BTreeMap::new(),
            });
        }
        Ok(())
    }

    async fn forget_consumer(&self, consumer: &str) -> Result<(), Unavailable> {
        self.lock().saved.retain(|(name, _), _| name != consumer);
        Ok(())
    }
}

#[async_trait]
impl Desk for MemoryDesk {
    fn share(&self) -> Share {
        self.share
    }

    async fn saved(&self, consumer: &str) -> Result<Option<SavedProgress>, Unavailable> {
        Ok(self.journal.lock().saved(consumer, self.share))
    }

    async fn save(&self, change: ProgressChange) -> Result<(), Unavailable> {
        let mut state = self.journal.lock();
        if state.epochs.get(&self.share) != Some(&self.epoch) {
            return Err(Unavailable::Fenced(self.share));
        }
        let consumer = change.consumer;
        for position in change.revived {
            state.dead.remove(&(position, consumer.clone()));
        }
        let is_deleted = |seq| state.deletions.iter().any(|one| one.seq == seq);
        let dead = change.dead.into_iter();
        let dead: Vec<_> = dead
            .filter(|letter| !is_deleted(letter.position.seq()))
            .collect();
        for letter in dead {
            let key = (letter.position, consumer.clone());
            state.dead.insert(key, letter);
        }
        let saved = state.saved.entry((consumer, self.share)).or_default();
        saved.head = change.head;
        for (key, value) in change.rows {
            match value {
                Some(value) => drop(saved.rows.insert(key, value)),
                None => drop(saved.rows.remove(&key)),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Documents for Memory {
    async fn put_document(
        &self,
        key: &str,
        value: Option<Vec<u8>>,
        expected: Expected,
    ) -> Result<Version, PutError> {
        let mut state = self.lock();
        let found = state.documents.get(key).map(|document| document.version);
        if !expected.allows(found) {
            return Err(PutError::Conflict);
        }
        let version = *self.0.documents.borrow() + 1;
        let key = key.to_owned();
        match value {
            Some(value) => {
                let document = Document {
                    key: key.clone(),
                    value,
                    version,
                };
                state.documents.insert(key, document);
            }
            None => drop(state.documents.remove(&key)),
        }
        self.0.documents.send_replace(version);
        Ok(version)
    }

    async fn documents(&self, prefix: &str) -> Result<Vec<Document>, Unavailable> {
        let state = self.lock();
        let found = state.documents.range(prefix.to_owned()..);
        let found = found.take_while(|(key, _)| key.starts_with(prefix));
        Ok(found.map(|(_, document)| document.clone()).collect())
    }

    fn watch_documents(&self) -> watch::Receiver<Version> {
        self.0.documents.subscribe()
    }
}

#[async_trait]
impl DeadLetters for Memory {
    async fn dead_letters(
        &self,
        consumer: Option<&str>,
        before: Option<(Position, &str)>,
        most: usize,
    ) -> Result<Vec<NamedLetter>, Unavailable> {
        let state = self.lock();
        let newest_first = state.dead.iter().rev();
        let letters = newest_first.filter(|((position, name), _)| {
            consumer.is_none_or(|consumer| consumer == name)
                && before.is_none_or(|before| (*position, name.as_str()) < before)
        });
        let named = letters.map(|((_, name), letter)| (name.clone(), letter.clone()));
        Ok(named.take(most).collect())
    }

    async fn dead_letters_of(&self, events: &[Position]) -> Result<Vec<NamedLetter>, Unavailable> {
        let state = self.lock();
        let all = state.dead.iter();
        let letters = all.filter(|((position, _), _)| events.contains(position));
        let named = letters.map(|((_, name), letter)| (name.clone(), letter.clone()));
        Ok(named.collect())
    }

    async fn forget_dead_letters(
        &self,
        consumer: &str,
        events: &[Position],
    ) -> Result<usize, Unavailable> {
        let mut state = self.lock();
        let before = state.dead.len();
        state
            .dead
            .retain(|(position, name), _| name != consumer || !events.contains(position));
        Ok(before - state.dead.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::contract::{Instances, Provider};

    /// Three shares, and two instances that take them from each other.
    struct Shared;

    #[async_trait]
    impl Provider for Shared {
        async fn open(&self, clock: Arc<dyn Clock>) -> Instances {
            let journal = Memory::new(clock, 3);
            Instances::new(Arc::new(journal.clone()), Arc::new(journal))
        }
    }

    crate::journal_contract!(Shared);
}
