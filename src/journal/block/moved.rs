//! A block as another engine stores it: with other numbers, and its dedup keys elsewhere.

use super::{Block, Format, length, read, write};
use crate::journal::position::Seq;
use crate::journal::record::Parts;
use crate::journal::remains;
use crate::journal::sum::Sum;

impl<Bytes: AsRef<[u8]>> Block<Bytes> {
    /// Returns the bodies after `after` as a finished block of the newest format without dedup keys. The first of
    /// them gets the number `first`. A body that is not what was written stays damaged. Returns `None` if the block
    /// is not whole, or has no such body.
    pub(in crate::journal) fn moved(&self, after: Seq, first: Seq, kept_at: i64) -> Option<Block> {
        if !self.is_whole() || self.last <= after {
            return None;
        }
        let mut moved = Block {
            kept_at,
            ..Block::default()
        };
        let (mut bodies, table) = (self.bodies.as_ref(), self.table().unwrap_or_default());
        let mut number = first;
        for seq in self.first..=self.last {
            let (body, is_whole) = self.next(&mut bodies, table, seq);
            if seq > after {
                moved.push_moved(number, body, self.format, is_whole);
                number += 1;
            }
        }
        moved.finish();
        Some(moved)
    }
}

impl Block {
    /// Adds a body of which nothing can be read.
    pub(in crate::journal) fn push_lost(&mut self, seq: Seq) {
        self.push_moved(seq, &[], Format::Sums, false);
    }

    fn push_moved(&mut self, seq: Seq, body: &[u8], format: Format, is_whole: bool) {
        self.begin(seq, []);
        let start = self.bodies.len();
        let is_same = format == Format::Sums || remains::read(body).is_some();
        if is_whole && is_same {
            self.bodies.extend_from_slice(body);
            return self.push_sum(seq, start);
        }
        if is_whole && let Some((received, parts, outlines)) = read(body, format) {
            let parts = Parts::several(parts, &received, 1);
            write(&mut self.bodies, &received, &parts, &outlines, Format::Sums);
            return self.push_sum(seq, start);
        }
        // Its bytes are as they were found, and its sum stays wrong. There is at least one: a block without bytes has no
        // bodies.
        let body = if body.is_empty() { &[0] } else { body };
        self.bodies.extend_from_slice(body);
        self.sums.extend(length(body.len()).to_le_bytes());
        self.sums.extend((!Sum::of_body(seq, body)).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::contract::remarkable;
    use crate::journal::{Events, Missing, Record};

    fn block(format: Format, first: Seq) -> Block {
        let mut block = Block {
            format,
            kept_at: 7,
            ..Block::default()
        };
        for (seq, received) in (first..).zip(&remarkable()) {
            block.push(seq, [], received, &Parts::one(received, 1), &Events::Unread);
        }
        block.finish();
        block
    }

    fn bodies(records: impl Iterator<Item = Record>) -> Vec<(Seq, bytes::Bytes, uuid::Uuid)> {
        let parts = |record: Record| {
            assert_eq!(record.missing, None);
            (record.seq, record.received.body.clone(), record.received.id)
        };
        records.map(parts).collect()
    }

    #[test]
    fn bodies_get_other_numbers() {
        for format in [Format::Parts, Format::Outlines, Format::Sums] {
            let old = block(format, 100);
            let there = bodies(old.records(101, 1));
            let moved = old.moved(101, 1, 9).unwrap();
            assert!(moved.is_whole() && moved.entries().unwrap().is_empty());
            assert_eq!((moved.first, moved.kept_at), (1, 9));
            let back = moved.moved(0, 102, 7).unwrap();
            assert_eq!(bodies(back.records(0, 1)), there, "{format:?}");
            assert!(old.moved(old.last, 1, 9).is_none());
        }
    }

    #[test]
    fn what_is_damaged_stays_damaged() {
        let mut old = block(Format::Sums, 1);
        old.bodies[3] ^= 1;
        let moved = old.moved(0, 5, 9).unwrap();
        let missing: Vec<_> = moved.records(0, 1).map(|record| record.missing).collect();
        assert_eq!(missing[0], Some(Missing::Damaged));
        assert!(missing[1..].iter().all(Option::is_none));
        let mut lost = Block::default();
        lost.push_lost(3);
        lost.push_lost(4);
        lost.finish();
        let missing: Vec<_> = lost.records(0, 1).map(|record| record.missing).collect();
        assert_eq!(missing, [Some(Missing::Damaged); 2]);
        old.sums[0] ^= 1;
        assert!(old.moved(0, 5, 9).is_none());
    }
}
