//! One transaction: everything that waits is written and becomes durable together.

use std::time::Duration;

use rusqlite::{Error, Transaction};

use super::operation::{Operation, Outcome};
use super::state::{Open, unreadable};
use super::{dead, store};
use crate::clock::Clock;
use crate::journal::block::Block;
use crate::journal::dedup::{DedupEntry, DedupWindow};
use crate::journal::{Appended, Entry, Expected, KeptPart, Part, Parts, Position, Seq, Version};

/// The outcome of each operation, and how long the commit itself took.
type Committed = (Vec<Outcome>, Duration);

impl Open {
    /// Writes a batch in one transaction. `epoch` is the newest desk's.
    pub(super) fn commit(
        &mut self,
        batch: &[Operation],
        now: i64,
        epoch: u64,
        clock: &dyn Clock,
    ) -> Result<Committed, Error> {
        let before = (self.head, self.kept_at, self.documents);
        // Times never go back, even if the clock is set back, because retention depends on them.
        self.kept_at = self.kept_at.max(now);
        let committed = self.try_commit(batch, now, epoch, clock);
        self.block.clear();
        if committed.is_err() {
            (self.head, self.kept_at, self.documents) = before;
            self.dedup.take_back_after(self.head);
        }
        committed
    }

    fn try_commit(
        &mut self,
        batch: &[Operation],
        now: i64,
        epoch: u64,
        clock: &dyn Clock,
    ) -> Result<Committed, Error> {
        self.block.kept_at = self.kept_at;
        let mut step = Step {
            // Rolled back if it is dropped without a commit.
            transaction: self.database.transaction()?,
            dedup: &mut self.dedup,
            block: &mut self.block,
            head: &mut self.head,
            documents: &mut self.documents,
            wal: &mut self.wal,
            now,
            epoch,
        };
        let outcomes = batch.iter().map(|operation| step.write(operation));
        let outcomes = outcomes.collect::<Result<Vec<_>, Error>>()?;
        step.flush()?;
        let started = clock.monotonic();
        step.transaction.commit()?;
        let took = clock.monotonic().saturating_duration_since(started);
        Ok((outcomes, took))
    }
}

/// A transaction that is being written.
struct Step<'a> {
    transaction: Transaction<'a>,
    dedup: &'a mut DedupWindow,
    block: &'a mut Block,
    head: &'a mut Seq,
    documents: &'a mut Version,
    wal: &'a mut usize,
    now: i64,
    epoch: u64,
}

impl Step<'_> {
    fn write(&mut self, operation: &Operation) -> Result<Outcome, Error> {
        if let Operation::Append(entry, _) = operation {
            return Ok(Outcome::Appended(self.append(entry)?));
        }
        *self.wal += store::PAGE + operation.bytes();
        let database = &self.transaction;
        match operation {
            Operation::Save { epoch, .. } if *epoch != self.epoch => Ok(Outcome::Fenced),
            Operation::Save { change, .. } => {
                store::save(database, change)?;
                Ok(Outcome::Done)
            }
            Operation::Introduce(name, progress, _) => {
                store::introduce(database, name, progress)?;
                Ok(Outcome::Done)
            }
            Operation::ForgetConsumer(name, _) => {
                store::forget_consumer(database, name)?;
                Ok(Outcome::Done)
            }
            Operation::PutDocument {
                key,
                value,
                expected,
                ..
            } => self.put(key, value.as_deref(), *expected),
            Operation::ForgetDeadLetters(consumer, events, _) => {
                Ok(Outcome::Removed(dead::forget(database, consumer, events)?))
            }
            Operation::Trim(up_to, _) => match self.dedup.outlive(*up_to, self.now) {
                Ok(()) => Ok(Outcome::Removed(store::trim(database, *up_to)?)),
                // This must not make the other operations fail.
                Err(error) => {
                    log::warn!(
                        "journal: dedup entries cannot be sealed, nothing is removed: {error}"
                    );
                    Ok(Outcome::Unsealed)
                }
            },
            Operation::Append(..) => unreachable!("it is written above"),
        }
    }

    fn append(&mut self, entry: &Entry) -> Result<Appended, Error> {
        let mut duplicates = Vec::new();
        for (part, own) in (1..).zip(&entry.parts) {
            let original = self.dedup.original(own.key, self.now).map_err(unreadable)?;
            duplicates.extend(original.map(|original| (part, original)));
        }
        if !entry.parts.is_empty() && duplicates.len() == entry.parts.len() {
            let originals = duplicates.into_iter().map(|(_, original)| original);
            return Ok(Appended::Duplicate(originals.collect()));
        }
        if self.block.is_full() {
            self.flush()?;
        }
        *self.head += 1;
        let seq = *self.head;
        let is_duplicate = |part| duplicates.iter().any(|(other, _)| *other == part);
        let new = (1..)
            .zip(&entry.parts)
            .filter(|(part, _)| !is_duplicate(*part));
        let entries =
            new.map(|(part, own)| DedupEntry::new(own.key, Position::new(seq, part), self.now));
        let entries: Vec<DedupEntry> = entries.collect();
        entries.iter().for_each(|entry| self.dedup.add(*entry));
        let parts = parts(entry, &duplicates);
        self.block.push(seq, &entries, &entry.received, &parts);
        Ok(Appended::New { seq, duplicates })
    }

    fn put(
        &mut self,
        key: &str,
        value: Option<&[u8]>,
        expected: Expected,
    ) -> Result<Outcome, Error> {
        let database = &self.transaction;
        if !expected.allows(store::version_of(database, key)?) {
            return Ok(Outcome::Conflict);
        }
        *self.documents += 1;
        store::put_document(database, key, value, *self.documents)?;
        Ok(Outcome::Put(*self.documents))
    }

    /// Writes the block of this commit.
    fn flush(&mut self) -> Result<(), Error> {
        if self.block.is_empty() {
            return Ok(());
        }
        *self.wal += in_wal(self.block);
        store::insert(&self.transaction, self.block)?;
        self.block.clear();
        Ok(())
    }
}

/// Returns the parts of a body, with the duplicates marked.
pub(super) fn parts(entry: &Entry, duplicates: &[(Part, Position)]) -> Parts {
    if let [only] = &entry.parts[..]
        && only.session.is_none()
    {
        return Parts::one(&entry.received, store::SHARES);
    }
    let kept = (1..).zip(&entry.parts).map(|(part, own)| KeptPart {
        session: own.session.clone(),
        duplicate: duplicates.iter().any(|(other, _)| *other == part),
    });
    Parts::several(kept.collect(), &entry.received, store::SHARES)
}

/// Estimates how many bytes a block adds to the WAL, which takes whole pages: the table's last
/// page, and pages of the block's own if it does not fit there.
fn in_wal(block: &Block) -> usize {
    let own = match block.bytes() {
        bytes if bytes < store::PAGE => 0,
        bytes => bytes.div_ceil(store::PAGE),
    };
    (1 + own) * store::PAGE
}
