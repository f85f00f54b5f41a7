//! [`Memory`]: a journal that forgets everything with the process, for tests.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::record::ClaimKey;
use super::{Appended, Change, DeadLetter, Entry, Journal, Record, Tail, Unavailable};
use crate::Timestamp;
use crate::clock::Clock;
use crate::dispatch::Saved;
use crate::journal::Seq;

/// A journal in memory.
#[derive(Debug)]
pub(crate) struct Memory {
    state: Mutex<State>,
    tail: Arc<Tail>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct State {
    records: Vec<Record>,
    claims: HashMap<ClaimKey, (Seq, i64)>,
    saved: BTreeMap<String, Saved>,
    dead: BTreeMap<(String, Seq), DeadLetter>,
    documents: BTreeMap<String, Vec<u8>>,
}

impl Memory {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            state: Mutex::default(),
            tail: Arc::new(Tail::new(0)),
            clock,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Journal for Memory {
    async fn append(&self, entry: Entry) -> Result<Appended, Unavailable> {
        let now = self.clock.now().as_millisecond();
        let mut state = self.lock();
        if let Some((seq, until)) = state.claims.get(&entry.claim.key)
            && entry.claim.is_held_until(*until, now)
        {
            return Ok(Appended::Duplicate(*seq));
        }
        let last = state.records.last();
        let seq = last.map_or(0, |record| record.seq) + 1;
        let kept_at = last.map_or(Timestamp::MIN, |record| record.kept_at);
        let made = entry.claim.made(seq, now);
        state.claims.insert(made.key, (seq, made.until));
        let record = Record {
            seq,
            kept_at: kept_at.max(self.clock.now()),
            received: entry.received,
            events: Some(entry.events),
        };
        state.records.push(record.clone());
        self.tail.publish([record]);
        Ok(Appended::New(seq))
    }

    async fn read(&self, after: Seq, most: usize) -> Result<Vec<Record>, Unavailable> {
        let state = self.lock();
        let records = state.records.iter().filter(|record| record.seq > after);
        Ok(records.take(most).cloned().collect())
    }

    async fn saved(&self, consumer: &str) -> Result<Option<Saved>, Unavailable> {
        Ok(self.lock().saved.get(consumer).cloned())
    }

    async fn save(&self, change: Change) -> Result<(), Unavailable> {
        let mut state = self.lock();
        for seq in change.revived {
            state.dead.remove(&(change.consumer.clone(), seq));
        }
        for letter in change.dead {
            state
                .dead
                .insert((change.consumer.clone(), letter.seq), letter);
        }
        state.saved.insert(change.consumer, change.saved);
        Ok(())
    }

    async fn forget_consumer(&self, name: &str) -> Result<(), Unavailable> {
        self.lock().saved.remove(name);
        Ok(())
    }

    async fn put_document(&self, key: &str, value: Option<Vec<u8>>) -> Result<(), Unavailable> {
        let mut state = self.lock();
        match value {
            Some(value) => drop(state.documents.insert(key.to_owned(), value)),
            None => drop(state.documents.remove(key)),
        }
        Ok(())
    }

    async fn documents(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Unavailable> {
        let state = self.lock();
        let found = state.documents.range(prefix.to_owned()..);
        let found = found.take_while(|(key, _)| key.starts_with(prefix));
        Ok(found
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    async fn all_dead(
        &self,
        consumer: Option<&str>,
        before: Option<(Seq, &str)>,
        most: usize,
    ) -> Result<Vec<(String, DeadLetter)>, Unavailable> {
        let state = self.lock();
        let mut letters: Vec<_> = state
            .dead
            .iter()
            .filter(|((name, seq), _)| {
                consumer.is_none_or(|consumer| consumer == name)
                    && before.is_none_or(|before| (*seq, name.as_str()) < before)
            })
            .map(|((name, _), letter)| (name.clone(), letter.clone()))
            .collect();
        letters.sort_by_key(|(name, letter)| std::cmp::Reverse((letter.seq, name.clone())));
        letters.truncate(most);
        Ok(letters)
    }

    async fn dead_among(&self, events: &[Seq]) -> Result<Vec<(String, DeadLetter)>, Unavailable> {
        let state = self.lock();
        let letters = state
            .dead
            .iter()
            .filter(|((_, seq), _)| events.contains(seq));
        Ok(letters
            .map(|((name, _), letter)| (name.clone(), letter.clone()))
            .collect())
    }

    async fn forget_dead(&self, consumer: &str, events: &[Seq]) -> Result<usize, Unavailable> {
        let mut state = self.lock();
        let before = state.dead.len();
        state
            .dead
            .retain(|(name, seq), _| name != consumer || !events.contains(seq));
        Ok(before - state.dead.len())
    }

    async fn trim(&self, up_to: Seq) -> Result<usize, Unavailable> {
        let mut state = self.lock();
        let newest = state.records.last().map_or(0, |record| record.seq);
        let before = state.records.len();
        state
            .records
            .retain(|record| record.seq > up_to || record.seq == newest);
        state
            .dead
            .retain(|(_, seq), _| *seq > up_to || *seq == newest);
        Ok(before - state.records.len())
    }

    async fn bytes(&self) -> Result<u64, Unavailable> {
        let state = self.lock();
        Ok(state
            .records
            .iter()
            .map(|record| record.received.body.len() as u64)
            .sum())
    }

    async fn close(&self) {}

    fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    fn is_ready(&self) -> bool {
        true
    }
}
