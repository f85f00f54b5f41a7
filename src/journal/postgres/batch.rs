//! [`Plan`]: which bodies of a batch are new, and what of them is sent to the database.
//!
//! Duplicates within the batch are found here, all others by the database. It answers with those that it knows,
//! and stores nothing; then the plan is made again without them.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::schema::millis;
use crate::journal::block::{Block, Format};
use crate::journal::{
    Appended, Entry, KeptPart, KeyHash, Part, Parts, Position, Record, Seq, Share,
};

/// The event that makes another one a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Original {
    /// It is in the log.
    Stored(Position),
    /// It is in the same batch: the new body `nth`, from 0, and its part.
    InBatch { nth: usize, part: Part },
}

/// A part of an entry of the batch.
pub(super) type PartOf = (usize, Part);

/// What a batch becomes.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The duplicates of each entry, in order.
    duplicates: Vec<Vec<(Part, Original)>>,
    /// Which new body each entry becomes, from 0; `None` if all its parts are duplicates.
    nth: Vec<Option<usize>>,
    /// How many bodies are new.
    pub(super) new: usize,
    pub(super) keys: Keys,
}

/// The dedup keys of a batch, as the database takes them.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Whose key each one is.
    pub(super) of: Vec<PartOf>,
    pub(super) keys: Vec<Uuid>,
    pub(super) states: Vec<Option<Uuid>>,
    pub(super) windows: Vec<i64>,
    pub(super) mosts: Vec<i64>,
    pub(super) nth: Vec<i32>,
    pub(super) parts: Vec<i32>,
    pub(super) looks: Vec<bool>,
    pub(super) writes: Vec<bool>,
}

/// The newest event of the batch with a key or a state.
struct Newest {
    hash: KeyHash,
    nth: usize,
    part: Part,
    window: Duration,
    /// Where its key is in `keys`.
    at: usize,
}

impl Plan {
    /// Plans a batch; `stored` are the parts that are duplicates of events in the log.
    pub(super) fn of<'a>(
        entries: impl Iterator<Item = &'a Entry>,
        stored: &HashMap<PartOf, Position>,
    ) -> Self {
        let mut plan = Self::default();
        let mut newest: HashMap<KeyHash, Newest> = HashMap::new();
        for (index, entry) in entries.enumerate() {
            let mut duplicates = Vec::new();
            for (part, own) in (1..).zip(&entry.parts) {
                if let Some(position) = stored.get(&(index, part)) {
                    duplicates.push((part, Original::Stored(*position)));
                } else if let Some(other) = newest.get(&own.key.state.unwrap_or(own.key.hash))
                    && other.hash == own.key.hash
                    && own.key.holds_until(millis(other.window), 0)
                {
                    let (nth, original) = (other.nth, other.part);
                    duplicates.push((
                        part,
                        Original::InBatch {
                            nth,
                            part: original,
                        },
                    ));
                }
            }
            let is_new = entry.parts.is_empty() || duplicates.len() < entry.parts.len();
            if is_new {
                let is_duplicate = |part| duplicates.iter().any(|(other, _)| *other == part);
                let parts = (1..).zip(&entry.parts);
                for (part, own) in parts.filter(|(part, _)| !is_duplicate(*part)) {
                    let known_as = own.key.state.unwrap_or(own.key.hash);
                    let earlier = newest.get(&known_as);
                    let looks = own.key.state.is_none() || earlier.is_none();
                    if let (Some(_), Some(earlier)) = (own.key.state, earlier) {
                        // Only the newest event of a state is stored.
                        plan.keys.writes[earlier.at] = false;
                    }
                    let at = plan.keys.push((index, part), own.key, plan.new, looks);
                    let (hash, nth, window) = (own.key.hash, plan.new, own.key.window);
                    newest.insert(
                        known_as,
                        Newest {
                            hash,
                            nth,
                            part,
                            window,
                            at,
                        },
                    );
                }
            }
            plan.nth.push(is_new.then_some(plan.new));
            plan.new += usize::from(is_new);
            plan.duplicates.push(duplicates);
        }
        plan
    }

    /// Returns the outcome of the entry `index`, if the first new body is `first`.
    pub(super) fn outcome(&self, index: usize, first: Seq) -> Appended {
        let position = |original| match original {
            Original::Stored(position) => position,
            Original::InBatch { nth, part } => Position::new(first + nth as Seq, part),
        };
        let duplicates = self.duplicates[index].iter();
        let duplicates = duplicates.map(|(part, original)| (*part, position(*original)));
        match self.nth[index] {
            Some(nth) => Appended::New {
                seq: first + nth as Seq,
                duplicates: duplicates.collect(),
            },
            None => Appended::Duplicate(duplicates.map(|(_, original)| original).collect()),
        }
    }

    /// Whether the outcome of the entry does not depend on anything that is not stored yet.
    pub(super) fn is_settled(&self, index: usize) -> bool {
        let stored = |(_, original): &(Part, Original)| matches!(original, Original::Stored(_));
        self.nth[index].is_none() && self.duplicates[index].iter().all(stored)
    }

    /// Returns the parts of the entry `index`, with the duplicates marked.
    fn parts(&self, index: usize, entry: &Entry, shares: Share) -> Parts {
        let is_duplicate = |part| {
            self.duplicates[index]
                .iter()
                .any(|(other, _)| *other == part)
        };
        let kept = (1..).zip(&entry.parts).map(|(part, own)| KeptPart {
            session: own.session.clone(),
            duplicate: is_duplicate(part),
        });
        Parts::several(kept.collect(), &entry.received, shares)
    }

    /// Returns the new bodies as blocks, which number them from 1.
    pub(super) fn blocks<'a>(
        &self,
        entries: impl Iterator<Item = &'a Entry>,
        shares: Share,
    ) -> Vec<Block> {
        let mut blocks = vec![Block::default()];
        for (index, entry) in entries
            .enumerate()
            .filter(|(index, _)| self.nth[*index].is_some())
        {
            if blocks.last().is_some_and(Block::is_full) {
                blocks.push(Block::default());
            }
            let block = blocks.last_mut().expect("there is one from the start");
            let number = if block.is_empty() { 1 } else { block.last + 1 };
            let parts = self.parts(index, entry, shares);
            block.push(number, [], &entry.received, &parts, &entry.events);
        }
        blocks.retain(|block| !block.is_empty());
        blocks.iter_mut().for_each(Block::finish);
        blocks
    }

    /// Returns the new bodies as records, the first of which is `first`.
    pub(super) fn records<'a>(
        &self,
        entries: impl Iterator<Item = &'a Entry>,
        first: Seq,
        kept_at: crate::Timestamp,
        shares: Share,
    ) -> Vec<Record> {
        let new = entries.enumerate().filter_map(|(index, entry)| {
            let seq = first + self.nth[index]? as Seq;
            Some(Record {
                seq,
                kept_at,
                parts: self.parts(index, entry, shares),
                received: entry.received.clone(),
                events: entry.events.clone(),
                missing: None,
            })
        });
        new.collect()
    }
}

impl Keys {
    /// Adds the key of a new event in the new body `nth`. Returns where it is.
    fn push(
        &mut self,
        of: PartOf,
        key: crate::journal::DedupKey,
        nth: usize,
        looks: bool,
    ) -> usize {
        let window = millis(key.window);
        let most = if key.named {
            i64::MAX
        } else {
            window.saturating_mul(2)
        };
        self.of.push(of);
        self.keys.push(Uuid::from_u128(key.hash));
        self.states.push(key.state.map(Uuid::from_u128));
        self.windows.push(window);
        self.mosts.push(most);
        self.nth.push(nth as i32);
        self.parts.push(of.1.into());
        self.looks.push(looks);
        self.writes.push(true);
        self.keys.len() - 1
    }
}

/// The format of the blocks that this version writes.
pub(super) const BLOCK_FORMAT: i16 = Format::Sums as i16;
