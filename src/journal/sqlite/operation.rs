//! [`Operation`]: something to write, and the caller that waits until it is durable; [`Step`]: the
//! transaction it is written in.

use rusqlite::{Error, Transaction};
use tokio::sync::oneshot;

use super::{dead, store};
use crate::journal::block::Block;
use crate::journal::dedup::{DedupEntry, DedupWindow};
use crate::journal::{
    Appended, Entry, Expected, KeptPart, Part, Parts, Position, ProgressChange, PutError, Seq,
    Unavailable, Version,
};

/// Something to write, and the caller that waits until it is durable.
pub(super) enum Operation {
    Append(Append),
    Change(Box<dyn Change>),
}

/// A body to append.
pub(super) struct Append {
    pub(super) entry: Entry,
    /// What the transaction did with it.
    pub(super) appended: Option<Appended>,
    pub(super) caller: oneshot::Sender<Result<Appended, Unavailable>>,
}

/// A change of anything but the log's end.
pub(super) trait Change: Send {
    /// Estimates how many bytes it writes.
    fn bytes(&self) -> usize;

    /// Makes the change in the transaction.
    ///
    /// # Errors
    ///
    /// If the whole transaction must fail.
    fn make(&mut self, step: &mut Step<'_>) -> Result<(), Error>;

    /// Tells the caller, after the transaction has become durable or has failed.
    fn answer(self: Box<Self>, failure: Option<&Unavailable>);
}

/// A [`Change`] by a function that returns the caller's outcome; an error in the outcome does not
/// fail the transaction.
struct Asked<F, T, E> {
    bytes: usize,
    make: F,
    outcome: Option<Result<T, E>>,
    caller: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Change for Asked<F, T, E>
where
    F: FnMut(&mut Step<'_>) -> Result<Result<T, E>, Error> + Send,
    T: Send,
    E: From<Unavailable> + Send,
{
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn make(&mut self, step: &mut Step<'_>) -> Result<(), Error> {
        self.outcome = Some((self.make)(step)?);
        Ok(())
    }

    fn answer(self: Box<Self>, failure: Option<&Unavailable>) {
        let outcome = match failure {
            Some(why) => Some(Err(why.clone().into())),
            None => self.outcome,
        };
        if let Some(outcome) = outcome {
            // A caller that no longer waits needs no answer.
            drop(self.caller.send(outcome));
        }
    }
}

impl Operation {
    pub(super) fn append(entry: Entry) -> (Self, oneshot::Receiver<Result<Appended, Unavailable>>) {
        let (caller, answered) = oneshot::channel();
        let append = Append {
            entry,
            appended: None,
            caller,
        };
        (Self::Append(append), answered)
    }

    /// A change that writes about `bytes` bytes.
    pub(super) fn change<T, E>(
        bytes: usize,
        make: impl FnMut(&mut Step<'_>) -> Result<Result<T, E>, Error> + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T, E>>)
    where
        T: Send + 'static,
        E: From<Unavailable> + Send + 'static,
    {
        let (caller, answered) = oneshot::channel();
        let asked = Asked {
            bytes,
            make,
            outcome: None,
            caller,
        };
        (Self::Change(Box::new(asked)), answered)
    }

    /// Estimates how many bytes it writes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Append(append) => append.entry.received.body.len(),
            Self::Change(change) => change.bytes(),
        }
    }

    /// Tells the caller, after the transaction has become durable or has failed.
    pub(super) fn answer(self, failure: Option<&Unavailable>) {
        match self {
            Self::Append(append) => {
                let outcome = match failure {
                    Some(why) => Some(Err(why.clone())),
                    None => append.appended.map(Ok),
                };
                if let Some(outcome) = outcome {
                    drop(append.caller.send(outcome));
                }
            }
            Self::Change(change) => change.answer(failure),
        }
    }
}

/// A transaction that is being written.
pub(super) struct Step<'a> {
    pub(super) transaction: Transaction<'a>,
    pub(super) dedup: &'a mut DedupWindow,
    pub(super) block: &'a mut Block,
    pub(super) head: &'a mut Seq,
    pub(super) documents: &'a mut Version,
    pub(super) wal: &'a mut usize,
    pub(super) now: i64,
    pub(super) epoch: u64,
}

impl Step<'_> {
    pub(super) fn append(&mut self, entry: &Entry) -> Result<Appended, Error> {
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

    /// Writes the block of this commit.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        if self.block.is_empty() {
            return Ok(());
        }
        *self.wal += in_wal(self.block);
        store::insert(&self.transaction, self.block)?;
        self.block.clear();
        Ok(())
    }

    /// Saves progress for the desk with this epoch.
    pub(super) fn save(
        &mut self,
        change: &ProgressChange,
        epoch: u64,
    ) -> Result<Result<(), Unavailable>, Error> {
        if epoch != self.epoch {
            return Ok(Err(Unavailable::Fenced(0)));
        }
        store::save(&self.transaction, change).map(Ok)
    }

    pub(super) fn introduce(&mut self, consumer: &str, progress: &[u8]) -> Result<(), Error> {
        store::introduce(&self.transaction, consumer, progress)
    }

    pub(super) fn forget_consumer(&mut self, consumer: &str) -> Result<(), Error> {
        store::forget_consumer(&self.transaction, consumer)
    }

    pub(super) fn put_document(
        &mut self,
        key: &str,
        value: Option<&[u8]>,
        expected: Expected,
    ) -> Result<Result<Version, PutError>, Error> {
        if !expected.allows(store::version_of(&self.transaction, key)?) {
            return Ok(Err(PutError::Conflict));
        }
        *self.documents += 1;
        store::put_document(&self.transaction, key, value, *self.documents)?;
        Ok(Ok(*self.documents))
    }

    pub(super) fn forget_dead_letters(
        &mut self,
        consumer: &str,
        events: &[Position],
    ) -> Result<usize, Error> {
        dead::forget(&self.transaction, consumer, events)
    }

    pub(super) fn trim(&mut self, up_to: Seq) -> Result<Result<usize, Unavailable>, Error> {
        match self.dedup.outlive(up_to, self.now) {
            Ok(()) => store::trim(&self.transaction, up_to).map(Ok),
            // This must not make the other operations fail.
            Err(error) => {
                let why = format!("dedup entries cannot be sealed, no event is removed: {error}");
                Ok(Err(Unavailable::Away(why)))
            }
        }
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

/// Converts an error of the dedup segments, so that it ends a transaction.
pub(super) fn unreadable(error: std::io::Error) -> Error {
    Error::ToSqlConversionFailure(Box::new(error))
}
