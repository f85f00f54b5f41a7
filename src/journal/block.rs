//! [`Block`]: bodies that became durable together, in the form that an engine stores.
//!
//! A commit writes its bodies as a few long rows, so that all bodies of a row share its cost. A row
//! holds at most [`MAX_BODIES`] bodies and about [`MAX_BYTES`], so that finding one body reads
//! little. It has three blobs, with all numbers little-endian:
//!
//! - `keys`, one entry for each new event: the key's hash (16), the end of its window in
//!   milliseconds (8), which body of the block (2), which part of the body (2); and then the sum (4) of
//!   the block's numbers and these entries;
//! - `sums`, for each body its length (4) and its sum (4); and then the sum (4) of the block's numbers
//!   and these;
//! - `bodies`, for each body its id (16), the time of its receipt
//!   in nanoseconds (8), then source, session, the number of headers (4), name and value of each,
//!   the number of parts (2; 0 for a body that is one event), for each part a byte (1 for a
//!   duplicate) and its session, why the body is odd, the number of outlines (2; 0 for a body
//!   without `Content-Encoding`), for each its kind, name, message id, sender and status, and the
//!   body. A text is its length (4) and its bytes; the length of an absent text is [`ABSENT`]. Of a
//!   deleted body it is what `remains.rs` says.
//!
//! So a flipped bit among the bodies costs one of them, and one elsewhere the block.
//!
//! Older blocks can be read too: those of version 4 have no sums, and each body follows its length (4).
//! Those of version 3 do not say what is odd and have no outlines; those of version 2 have one key of 24
//! bytes for each body, in order, and no parts either.

pub(super) mod erased;
#[cfg(all(feature = "sqlite", feature = "postgres"))]
mod moved;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::dedup_entry::DedupEntry;
use super::position::{Position, Seq, Share};
use super::record::{Events, KeptPart, Parts, Record};
use super::remains;
use super::sum::Sum;
use crate::dialect::{read_outline, write_outline};
use crate::{Event, Received, Timestamp};

/// One or more consecutive bodies, either built in vectors or borrowed from the database.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Block<Bytes = Vec<u8>> {
    /// The numbers of its first and its last body.
    pub(super) first: Seq,
    pub(super) last: Seq,
    /// When the bodies became durable, in milliseconds since 1970.
    pub(super) kept_at: i64,
    pub(super) format: Format,
    pub(super) keys: Bytes,
    pub(super) bodies: Bytes,
    pub(super) sums: Bytes,
}

/// The format of a block, as a database numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Default)]
pub(super) enum Format {
    /// Version 2: bodies without parts.
    Whole = 2,
    /// Version 3: bodies with parts.
    Parts = 3,
    /// Version 4: bodies with outlines, and why they are odd.
    Outlines = 4,
    /// Version 5: everything has a sum.
    #[default]
    Sums = 5,
}

impl Format {
    /// Returns the format with this number; `None` if a newer version wrote the block.
    pub(super) fn of(number: i64) -> Option<Self> {
        match number {
            2 => Some(Self::Whole),
            3 => Some(Self::Parts),
            4 => Some(Self::Outlines),
            5 => Some(Self::Sums),
            _ => None,
        }
    }
}

impl Block {
    pub(super) fn is_empty(&self) -> bool {
        self.bodies.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.keys.len() + self.bodies.len() + self.sums.len()
    }

    /// Returns whether the next body belongs into a new block.
    pub(super) fn is_full(&self) -> bool {
        let bodies = if self.is_empty() { 0 } else { self.length() };
        bodies >= MAX_BODIES as u64 || self.bodies.len() >= MAX_BYTES
    }

    /// Adds the next body with the dedup entries of its new events.
    pub(super) fn push(
        &mut self,
        seq: Seq,
        entries: impl IntoIterator<Item = DedupEntry>,
        received: &Received,
        parts: &Parts,
        events: &Events,
    ) {
        self.begin(seq, entries);
        let (format, outlines) = (self.format, events.outline());
        let start = self.bodies.len();
        if format >= Format::Sums {
            write(&mut self.bodies, received, parts, outlines, format);
            self.push_sum(seq, start);
        } else {
            self.bodies.extend_from_slice(&[0; 4]);
            write(&mut self.bodies, received, parts, outlines, format);
            let length = length(self.bodies.len() - start - 4).to_le_bytes();
            self.bodies[start..start + 4].copy_from_slice(&length);
        }
    }

    /// The next body is `seq`, with these dedup entries.
    fn begin(&mut self, seq: Seq, entries: impl IntoIterator<Item = DedupEntry>) {
        if self.is_empty() {
            self.first = seq;
        }
        self.last = seq;
        entries.into_iter().for_each(|entry| self.push_key(&entry));
    }

    /// Adds length and sum of the body that begins at `start`.
    fn push_sum(&mut self, seq: Seq, start: usize) {
        let body = &self.bodies[start..];
        self.sums
            .extend_from_slice(&length(body.len()).to_le_bytes());
        self.sums
            .extend_from_slice(&Sum::of_body(seq, body).to_le_bytes());
    }

    /// Adds the sums of the keys and of the lengths, once all bodies are there.
    pub(super) fn finish(&mut self) {
        if self.format >= Format::Sums {
            let keys = self.sum_of(KEYS, &self.keys);
            self.keys.extend_from_slice(&keys.to_le_bytes());
            let sums = self.sum_of(LENGTHS, &self.sums);
            self.sums.extend_from_slice(&sums.to_le_bytes());
        }
    }

    fn push_key(&mut self, entry: &DedupEntry) {
        self.keys.extend_from_slice(&entry.hash.to_le_bytes());
        self.keys.extend_from_slice(&entry.until.to_le_bytes());
        if self.format >= Format::Parts {
            let body = (entry.position.seq() - self.first) as u16;
            self.keys.extend_from_slice(&body.to_le_bytes());
            self.keys
                .extend_from_slice(&entry.position.part().to_le_bytes());
        }
    }

    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.bodies.clear();
        self.sums.clear();
        // Frees the memory that one long body took.
        self.bodies.shrink_to(2 * MAX_BYTES);
    }
}

impl<Bytes: AsRef<[u8]>> Block<Bytes> {
    /// Returns whether its numbers, and the lengths of its bodies, are what was written. Of an older block
    /// only that they are possible.
    pub(super) fn is_whole(&self) -> bool {
        let is_possible =
            (1..=self.last).contains(&self.first) && self.last - self.first < MAX_BODIES as u64;
        is_possible && (self.format < Format::Sums || self.table().is_some())
    }

    /// Returns the finished block without its bodies up to `up_to`; `None` if it cannot be read.
    pub(super) fn without(&self, up_to: Seq) -> Option<Block> {
        let mut left = Block {
            first: self.first.max(up_to.saturating_add(1)),
            last: self.last,
            kept_at: self.kept_at,
            format: self.format,
            ..Block::default()
        };
        let (mut bodies, table) = (self.bodies.as_ref(), self.table());
        if self.format >= Format::Sums {
            let (removed, rest) = table?.split_at_checked((left.first - self.first) as usize)?;
            for (length, _) in removed.iter().map(split) {
                bodies = bodies.get(length..)?;
            }
            left.sums = rest.as_flattened().to_vec();
        } else {
            for _ in self.first..left.first {
                take(&mut bodies)?;
            }
        }
        left.bodies = bodies.to_vec();
        let entries = self.entries()?;
        let later = entries.iter().filter(|entry| entry.position.seq() > up_to);
        later.for_each(|entry| left.push_key(entry));
        left.finish();
        Some(left)
    }

    /// Returns the dedup entries of its events; `None` if the block cannot be read.
    pub(super) fn entries(&self) -> Option<Vec<DedupEntry>> {
        let mut keys = self.keys.as_ref();
        if self.format >= Format::Sums {
            keys = self.checked(KEYS, keys)?;
        }
        let mut entries = Vec::new();
        while !keys.is_empty() {
            let hash = u128::from_le_bytes(array(&mut keys)?);
            let until = i64::from_le_bytes(array(&mut keys)?);
            let (body, part) = match self.format {
                Format::Whole => (entries.len() as u64, 1),
                Format::Parts | Format::Outlines | Format::Sums => (
                    u16::from_le_bytes(array(&mut keys)?).into(),
                    u16::from_le_bytes(array(&mut keys)?),
                ),
            };
            let seq = self.first + body;
            if seq > self.last || part == 0 {
                return None;
            }
            let position = Position::new(seq, part);
            entries.push(DedupEntry {
                hash,
                position,
                until,
            });
        }
        let is_whole = self.format >= Format::Parts || entries.len() as u64 == self.length();
        is_whole.then_some(entries)
    }

    /// Returns the records of its bodies after `after`, in order, for a journal with `shares` shares. A body
    /// that is not what was written is [damaged](super::record::Missing::Damaged). The block must be whole.
    pub(super) fn records(&self, after: Seq, shares: Share) -> impl Iterator<Item = Record> {
        let kept_at = Timestamp::from_millisecond(self.kept_at).unwrap_or_default();
        let (mut bodies, table) = (self.bodies.as_ref(), self.table().unwrap_or_default());
        (self.first..=self.last).filter_map(move |seq| {
            let (body, is_whole) = self.next(&mut bodies, table, seq);
            let found = || match remains::read(body) {
                Some((left, at)) => Some(Record::deleted(seq, kept_at, left, at)),
                None => read(body, self.format).map(|found| whole(seq, kept_at, found, shares)),
            };
            let damaged = || Record::damaged(seq, kept_at, id_and_time(body));
            (seq > after).then(|| is_whole.then(found).flatten().unwrap_or_else(damaged))
        })
    }

    /// Takes the next body, `seq`. Returns whether it is what was written.
    fn next<'a>(&self, from: &mut &'a [u8], table: &[[u8; 8]], seq: Seq) -> (&'a [u8], bool) {
        if self.format < Format::Sums {
            return take(from).map_or((&[][..], false), |body| (body, true));
        }
        let Some((length, sum)) = table.get((seq - self.first) as usize).map(split) else {
            return (&[], false);
        };
        match from.split_off(..length) {
            Some(body) => (body, Sum::of_body(seq, body) == sum),
            // The rest was cut off.
            None => (std::mem::take(from), false),
        }
    }

    /// Returns length and sum of each body; `None` if they are not what was written.
    fn table(&self) -> Option<&[[u8; 8]]> {
        let (table, []) = self.checked(LENGTHS, self.sums.as_ref())?.as_chunks() else {
            return None;
        };
        (table.len() as u64 == self.length()).then_some(table)
    }

    /// Returns what stands before its sum, if the sum is right.
    fn checked<'a>(&self, kind: &str, sealed: &'a [u8]) -> Option<&'a [u8]> {
        let (bytes, sum) = sealed.split_last_chunk()?;
        (self.sum_of(kind, bytes) == u32::from_le_bytes(*sum)).then_some(bytes)
    }

    /// The sum of the block's numbers and these bytes.
    fn sum_of(&self, kind: &str, bytes: &[u8]) -> u32 {
        let numbers = Sum::of(kind).number(self.first).number(self.last);
        let numbers = numbers.number(self.kept_at.cast_unsigned());
        numbers.number(self.format as u64).text(bytes).end()
    }

    fn length(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }
}

/// Length and sum of a body.
fn split(bytes: &[u8; 8]) -> (usize, u32) {
    let [a, b, c, d, sum @ ..] = *bytes;
    (
        u32::from_le_bytes([a, b, c, d]) as usize,
        u32::from_le_bytes(sum),
    )
}

fn whole(
    seq: Seq,
    kept_at: Timestamp,
    (received, parts, mut outlines): (Received, Vec<KeptPart>, Vec<Event>),
    shares: Share,
) -> Record {
    let mut record = Record {
        seq,
        kept_at,
        parts: Parts::several(parts, &received, shares),
        received: Arc::new(received),
        events: Events::Unread,
        missing: None,
    };
    if !outlines.is_empty() {
        record.set_sessions(&mut outlines);
        record.events = Events::Outline(outlines.into());
    }
    record
}

/// The id and the time of receipt of a damaged body, if they agree with each other: the id has a time too.
fn id_and_time(mut body: &[u8]) -> Option<(Uuid, Timestamp)> {
    let id = Uuid::from_bytes(array(&mut body)?);
    let at = i64::from_le_bytes(array(&mut body)?);
    let at = Timestamp::from_nanosecond(at.into()).ok()?;
    let (seconds, _) = id.get_timestamp()?.to_unix();
    let apart = at.as_second().abs_diff(i64::try_from(seconds).ok()?);
    (id.get_version_num() == 7 && apart <= MAX_APART).then_some((id, at))
}

fn write(to: &mut Vec<u8>, received: &Received, parts: &Parts, outlines: &[Event], format: Format) {
    let at = i64::try_from(received.received_at.as_nanosecond()).unwrap_or(i64::MAX);
    to.extend_from_slice(received.id.as_bytes());
    to.extend_from_slice(&at.to_le_bytes());
    put(to, received.source.as_bytes());
    put_text(to, received.session.as_deref());
    to.extend_from_slice(&length(received.headers.len()).to_le_bytes());
    for (name, value) in &received.headers {
        put(to, name.as_bytes());
        put(to, value);
    }
    if format >= Format::Parts {
        let kept = parts.kept();
        to.extend_from_slice(&(kept.len() as u16).to_le_bytes());
        for part in kept {
            to.push(u8::from(part.duplicate));
            put_text(to, part.session.as_deref());
        }
    }
    if format >= Format::Outlines {
        put_text(to, received.odd.as_deref());
        let outlines = &outlines[..outlines.len().min(u16::MAX.into())];
        to.extend_from_slice(&(outlines.len() as u16).to_le_bytes());
        for event in outlines {
            write_outline(event, |text| put_text(to, text));
        }
    }
    put(to, &received.body);
}

fn read(mut body: &[u8], format: Format) -> Option<(Received, Vec<KeptPart>, Vec<Event>)> {
    let from = &mut body;
    let id = Uuid::from_bytes(array(from)?);
    let at = i64::from_le_bytes(array(from)?);
    let source = text(take(from)?)?;
    let session = take_text(from)?;
    let mut headers = Vec::new();
    for _ in 0..u32::from_le_bytes(array(from)?) {
        let name = Cow::Owned(text(take(from)?)?.to_owned());
        headers.push((name, Bytes::copy_from_slice(take(from)?)));
    }
    let mut parts = Vec::new();
    if format >= Format::Parts {
        let count = u16::from_le_bytes(array(from)?);
        for _ in 0..count {
            let duplicate = *from.split_off_first()? != 0;
            let session = take_text(from)?;
            parts.push(KeptPart { session, duplicate });
        }
    }
    let (mut odd, mut outlines) = (None, Vec::new());
    if format >= Format::Outlines {
        odd = take_text(from)?;
        for _ in 0..u16::from_le_bytes(array(from)?) {
            outlines.push(read_outline(|| take_text(from))?);
        }
    }
    let mut received = Received::new(source, Bytes::copy_from_slice(take(from)?));
    received.odd = odd.map(Into::into);
    received.id = id;
    received.session = session;
    received.received_at = Timestamp::from_nanosecond(at.into()).ok()?;
    received.headers = headers;
    from.is_empty().then_some((received, parts, outlines))
}

fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(&length(bytes.len()).to_le_bytes());
    to.extend_from_slice(bytes);
}

fn put_text(to: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => put(to, text.as_bytes()),
        None => to.extend_from_slice(&ABSENT.to_le_bytes()),
    }
}

fn take<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(array(from)?);
    from.split_off(..usize::try_from(length).ok()?)
}

fn array<const LENGTH: usize>(from: &mut &[u8]) -> Option<[u8; LENGTH]> {
    from.split_off(..LENGTH)?.try_into().ok()
}

/// Returns `None` if the bytes cannot be read, and `Some(None)` if there is no text.
fn take_text(from: &mut &[u8]) -> Option<Option<String>> {
    if from.starts_with(&ABSENT.to_le_bytes()) {
        return from.split_off(..4).map(|_| None);
    }
    Some(Some(text(take(from)?)?.to_owned()))
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// A body fits into SQLite's largest value, which is less than 2³¹ bytes.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(ABSENT - 1)
}

const ABSENT: u32 = u32::MAX;

/// The kinds of sums.
const KEYS: &str = "keys";
const LENGTHS: &str = "lengths";

/// How many seconds the time within an id may differ from the time of receipt.
const MAX_APART: u64 = 10;

pub(super) const MAX_BODIES: usize = 256;
const MAX_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// The outlines of a body, of two kinds at most.
    fn outlines(received: &Received) -> Events {
        let event = |kind: &str| {
            let texts = [
                Some(kind),
                Some("name"),
                None,
                received.session.as_deref(),
                None,
            ];
            let mut texts = texts.map(|text| text.map(str::to_owned)).into_iter();
            read_outline(|| texts.next()).unwrap()
        };
        match received.body.len() % 3 {
            0 => Events::Unread,
            1 => Events::Outline([event("message")].into()),
            _ => Events::Outline([event("status"), event("unknown")].into()),
        }
    }

    fn received() -> impl Strategy<Value = Received> {
        let header = ("[a-z-]{0,12}", vec(any::<u8>(), 0..20));
        let parts = (
            any::<u128>(),
            any::<i64>(),
            "\\PC{0,8}",
            prop::option::of("\\PC{0,8}"),
            vec(header, 0..4),
            vec(any::<u8>(), 0..60),
        );
        parts.prop_map(|(id, at, source, session, headers, body)| {
            let mut received = Received::new(source, body);
            received.id = Uuid::from_u128(id);
            received.received_at = Timestamp::from_nanosecond(at.into()).unwrap();
            received.odd = session.as_deref().map(Into::into);
            received.session = session;
            let headers = headers.into_iter();
            let headers = headers.map(|(name, value)| (Cow::Owned(name), value.into()));
            received.headers = headers.collect();
            received
        })
    }

    /// A body with one or several events; a duplicate has no key.
    fn divided() -> impl Strategy<Value = (Received, Vec<KeptPart>)> {
        let part = (prop::option::of("\\PC{0,8}"), any::<bool>());
        let part = part.prop_map(|(session, duplicate)| KeptPart { session, duplicate });
        (received(), vec(part, 0..4))
    }

    fn entry_of(position: Position) -> DedupEntry {
        DedupEntry {
            hash: u128::from(position.to_bits()) << 70 | 5,
            position,
            until: position.to_bits().cast_signed() * -3,
        }
    }

    fn entries_of(seq: Seq, received: &Received, parts: &Parts) -> Vec<DedupEntry> {
        let new = parts.views(received).filter(|view| !view.duplicate);
        new.map(|view| entry_of(Position::new(seq, view.part)))
            .collect()
    }

    fn filled(first: Seq, format: Format, bodies: &[(Received, Parts)]) -> Block {
        let mut block = Block {
            kept_at: 12_345,
            format,
            ..Block::default()
        };
        for (seq, (received, parts)) in (first..).zip(bodies) {
            let entries = entries_of(seq, received, parts);
            block.push(seq, entries, received, parts, &outlines(received));
        }
        block.finish();
        block
    }

    fn formats() -> impl Strategy<Value = Format> {
        (2..=5i64).prop_map(|number| Format::of(number).unwrap())
    }

    fn fields(received: &Received) -> impl PartialEq + std::fmt::Debug + use<> {
        let Received {
            id,
            source,
            session,
            received_at,
            headers,
            body,
            ..
        } = received.clone();
        (id, source, session, received_at, headers, body)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_pushed_comes_back(
            bodies in vec(divided(), 1..8),
            format in formats(),
            first in 1..1_000_000u64,
            after in 0..10u64,
            cut in 0..10u64,
        ) {
            let bodies = bodies.into_iter().map(|(received, parts)| {
                let parts = if format == Format::Whole { Vec::new() } else { parts };
                let parts = Parts::several(parts, &received, 3);
                (received, parts)
            });
            let bodies: Vec<(Received, Parts)> = bodies.collect();
            let mut block = filled(first, format, &bodies);
            let last = first + bodies.len() as u64 - 1;
            prop_assert_eq!((block.first, block.last), (first, last));
            // The bodies up to the cut are gone, and the others are unchanged.
            let cut = (first + cut).min(last) - 1;
            block = block.without(cut).unwrap();
            prop_assert_eq!((block.first, block.last), (cut + 1, last));
            let left = || (first..).zip(&bodies).filter(|(seq, _)| *seq > cut);
            let entries = left().flat_map(|(seq, (received, parts))| entries_of(seq, received, parts));
            prop_assert_eq!(block.entries().unwrap(), entries.collect::<Vec<_>>());
            let after = first + after;
            prop_assert!(block.is_whole());
            let records: Vec<_> = block.records(after, 3).collect();
            let left: Vec<_> = left().filter(|(seq, _)| *seq > after).collect();
            prop_assert_eq!(records.len(), left.len());
            for (record, (seq, (received, parts))) in records.iter().zip(left) {
                prop_assert_eq!((record.seq, record.missing), (seq, None));
                prop_assert_eq!(record.kept_at.as_millisecond(), 12_345);
                prop_assert_eq!(&record.parts, parts);
                prop_assert_eq!(fields(&record.received), fields(received));
                let is_newest = format >= Format::Outlines;
                prop_assert_eq!(record.received.odd.is_some(), is_newest && received.odd.is_some());
                let (found, known) = (record.events.outline(), outlines(received));
                prop_assert_eq!(found.len(), if is_newest { known.outline().len() } else { 0 });
                for (found, known) in found.iter().zip(known.outline()) {
                    prop_assert_eq!(found.name(), known.name());
                    prop_assert_eq!(found.kind(), known.kind());
                }
            }
        }

        #[test]
        fn a_deletion_leaves_the_other_bodies(
            bodies in vec(divided(), 1..8),
            format in formats(),
            first in 1..1_000_000u64,
            picks in vec(any::<prop::sample::Index>(), 1..4),
        ) {
            let bodies = bodies.into_iter().map(|(received, parts)| {
                let parts = if format == Format::Whole { Vec::new() } else { parts };
                let parts = Parts::several(parts, &received, 3);
                (received, parts)
            });
            let bodies: Vec<(Received, Parts)> = bodies.collect();
            let block = filled(first, format, &bodies);
            let picked = picks.iter().map(|pick| first + pick.index(bodies.len()) as u64);
            let mut deleted: Vec<Seq> = picked.collect();
            deleted.sort_unstable();
            deleted.dedup();
            let erased = block.erased(&deleted, 9).unwrap();
            prop_assert_eq!(&erased.bodies, &deleted);
            let left = erased.block;
            prop_assert!(left.is_whole());
            prop_assert_eq!(left.entries(), block.entries());
            let at = Timestamp::from_millisecond(9).unwrap();
            for (record, before) in left.records(0, 3).zip(block.records(0, 3)) {
                let is_deleted = deleted.contains(&record.seq);
                let expected = if is_deleted { before.without_body(at) } else { before };
                prop_assert_eq!(record.missing, expected.missing);
                prop_assert_eq!(&record.parts, &expected.parts);
                prop_assert_eq!(fields(&record.received), fields(&expected.received));
            }
            // What is left is the same in another block.
            for record in left.records(0, 3).filter(|record| record.missing.is_some()) {
                let mut alone = Block { format, ..Block::default() };
                alone.push_deleted(record.seq, &[entry_of(Position::first(record.seq))], &record.received, at);
                alone.finish();
                let again = alone.records(0, 3).next().unwrap();
                prop_assert_eq!(again.missing, record.missing);
                prop_assert_eq!(fields(&again.received), fields(&record.received));
            }
            // The time of the first deletion stays.
            let again = left.erased(&deleted, 10).unwrap();
            prop_assert_eq!((again.bodies, again.block), (Vec::new(), left));
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            first in 1..10u64,
            length in 0..10u64,
            format in formats(),
            keys in vec(any::<u8>(), 0..80),
            bodies in vec(any::<u8>(), 0..200),
            sums in vec(any::<u8>(), 0..80),
            up_to in 0..20u64,
        ) {
            let (last, kept_at) = (first + length, i64::MAX);
            let block = Block { first, last, kept_at, format, keys, bodies, sums };
            block.is_whole();
            for entry in block.entries().unwrap_or_default() {
                prop_assert!((first..=last).contains(&entry.position.seq()));
            }
            prop_assert_eq!(block.records(0, 3).count() as u64, length + 1);
            block.without(up_to);
            block.erased(&[first, last], 9);
        }

        #[test]
        fn cut_short_a_body_is_damaged(
            bodies in vec(divided(), 1..4),
            format in formats(),
            at in any::<prop::sample::Index>(),
        ) {
            let bodies = bodies.into_iter().map(|(received, parts)| {
                let parts = Parts::several(parts, &received, 1);
                (received, parts)
            });
            let bodies: Vec<(Received, Parts)> = bodies.collect();
            let mut block = filled(1, format, &bodies);
            let at = at.index(block.bodies.len());
            block.bodies.truncate(at);
            prop_assert!(block.records(0, 1).any(|record| record.missing.is_some()));
        }

        /// In the bodies it costs one of them; elsewhere it is found too.
        #[test]
        fn a_flipped_bit_is_found(
            bodies in vec(divided(), 1..8),
            first in 1..1_000_000u64,
            bit in any::<prop::sample::Index>(),
        ) {
            let bodies = bodies.into_iter().map(|(received, parts)| {
                let parts = Parts::several(parts, &received, 3);
                (received, parts)
            });
            let bodies: Vec<(Received, Parts)> = bodies.collect();
            let mut block = filled(first, Format::Sums, &bodies);
            let bit = bit.index(8 * block.bytes());
            let (at, keys) = (bit / 8, block.keys.len());
            let flipped = match at.checked_sub(keys) {
                None => &mut block.keys[at],
                Some(at) if at < block.sums.len() => &mut block.sums[at],
                Some(at) => { let at = at - block.sums.len(); &mut block.bodies[at] }
            };
            *flipped ^= 1 << (bit % 8);
            let has_keys = block.entries().is_some();
            let damaged = if block.is_whole() {
                let records: Vec<_> = block.records(0, 3).collect();
                let whole = records.iter().zip(&bodies).filter(|(record, _)| record.missing.is_none());
                for (record, (received, _)) in whole {
                    prop_assert_eq!(fields(&record.received), fields(received));
                }
                records.iter().filter(|record| record.missing.is_some()).count()
            } else {
                usize::MAX
            };
            let expected = if at < keys { (false, 0) }
                else if at < keys + block.sums.len() { (true, usize::MAX) }
                else { (true, 1) };
            prop_assert_eq!((has_keys, damaged), expected);
        }
    }

    #[test]
    fn it_is_full_by_number_and_by_bytes() {
        let push = |block: &mut Block, seq, received: &Received| {
            let parts = Parts::one(received, 1);
            let entries = entries_of(seq, received, &parts);
            block.push(seq, entries, received, &parts, &Events::Unread);
        };
        let small = Received::new("source", "{}");
        let mut block = Block::default();
        for seq in 1..=MAX_BODIES as u64 {
            assert!(!block.is_full(), "{seq}");
            push(&mut block, seq, &small);
        }
        assert!(block.is_full());
        block.clear();
        assert!(block.is_empty() && !block.is_full());
        push(
            &mut block,
            1,
            &Received::new("source", vec![b'x'; MAX_BYTES]),
        );
        assert!(block.is_full());
        block.clear();
        assert!(block.bodies.capacity() <= 2 * MAX_BYTES);
    }
}
