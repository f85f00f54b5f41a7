//! [`Erased`]: a block from which bodies were deleted. Its bodies keep their numbers, and its dedup keys stay.

use super::{Block, Format, LENGTHS, put, read, split};
use crate::journal::dedup_entry::DedupEntry;
use crate::journal::position::Seq;
use crate::journal::record::Parts;
use crate::journal::remains;
use crate::{Received, Timestamp};

/// A block without some bodies that it had.
#[derive(Debug)]
pub(in crate::journal) struct Erased {
    pub(in crate::journal) block: Block,
    /// The bodies that were there.
    pub(in crate::journal) bodies: Vec<Seq>,
    /// How many events they held.
    pub(in crate::journal) events: usize,
}

impl<Bytes: AsRef<[u8]>> Block<Bytes> {
    /// Returns the finished block after the deletion of these bodies, at a time in milliseconds since 1970; `None`
    /// if it cannot be read. A damaged body can be deleted, or stays as damaged as it is.
    pub(in crate::journal) fn erased(&self, deleted: &[Seq], at: i64) -> Option<Erased> {
        if !self.is_whole() {
            return None;
        }
        let mut left = Block {
            first: self.first,
            last: self.last,
            kept_at: self.kept_at,
            format: self.format,
            // They do not change, nor does their sum.
            keys: self.keys.as_ref().to_vec(),
            ..Block::default()
        };
        let (mut erased, mut events) = (Vec::new(), 0);
        let (mut bodies, table) = (self.bodies.as_ref(), self.table().unwrap_or_default());
        for (seq, place) in (self.first..=self.last).zip(0..) {
            let (body, is_whole) = self.next(&mut bodies, table, seq);
            let sum = table.get(place);
            if sum.is_some_and(|sum| split(sum).0 != body.len()) {
                // The end of the block was cut off, so nothing can be put behind it.
                return None;
            }
            let is_there = !is_whole || remains::read(body).is_none();
            if is_there && deleted.binary_search(&seq).is_ok() {
                let found = is_whole.then(|| read(body, self.format)).flatten();
                events += found.map_or(1, |(received, parts, _)| {
                    Parts::several(parts, &received, 1).new_count()
                });
                erased.push(seq);
                left.push_bytes(seq, &remains::of(body, at), None);
            } else {
                left.push_bytes(seq, body, sum);
            }
        }
        if left.format >= Format::Sums {
            let sum = left.sum_of(LENGTHS, &left.sums);
            left.sums.extend(sum.to_le_bytes());
        }
        Some(Erased {
            block: left,
            bodies: erased,
            events,
        })
    }
}

impl Block {
    /// Adds what is left of a body that was deleted at `at`, with the dedup entries that it had.
    pub(in crate::journal) fn push_deleted(
        &mut self,
        seq: Seq,
        entries: &[DedupEntry],
        left: &Received,
        at: Timestamp,
    ) {
        self.begin(seq, entries.iter().copied());
        let received_at = i64::try_from(left.received_at.as_nanosecond()).unwrap_or_default();
        let body = [&left.id.as_bytes()[..], &received_at.to_le_bytes()].concat();
        self.push_bytes(seq, &remains::of(&body, at.as_millisecond()), None);
    }

    /// Adds a body as it is stored, with this length and sum, or its own.
    fn push_bytes(&mut self, seq: Seq, body: &[u8], sum: Option<&[u8; 8]>) {
        if self.format < Format::Sums {
            return put(&mut self.bodies, body);
        }
        let start = self.bodies.len();
        self.bodies.extend_from_slice(body);
        match sum {
            Some(sum) => self.sums.extend_from_slice(sum),
            None => self.push_sum(seq, start),
        }
    }
}
