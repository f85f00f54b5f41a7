//! [`Block`]: events that were made durable together, as the database has them.
//!
//! A commit writes what it has as a few long rows: what a row costs is shared by all events in it.
//! A row is at most [`MAX_EVENTS`] events and about [`MAX_BYTES`], so that one event is found without
//! reading much. It has two blobs, all numbers little-endian:
//!
//! - `claims`, 24 bytes an event: the claim's key (16), the end of its window in milliseconds (8);
//! - `events`, for each event the length of what follows (4), its id (16), the time of its receipt in
//!   nanoseconds (8), then source, session, the number of headers (4), name and value of each, and the
//!   body. A text is its length (4) and its bytes; the length of a session that is absent is
//!   [`ABSENT`].

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::super::claims::Made;
use super::super::record::Record;
use crate::journal::Seq;
use crate::{Received, Timestamp};

/// Events that follow each other, one or more: put together in vectors of its own, or read where
/// SQLite has them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Block<Bytes = Vec<u8>> {
    /// The numbers of its first and its last event.
    pub(super) first: Seq,
    pub(super) last: Seq,
    /// When they were made durable, in milliseconds since 1970.
    pub(super) kept_at: i64,
    pub(super) claims: Bytes,
    pub(super) events: Bytes,
}

impl Block {
    /// Nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// How long it is.
    pub(super) fn bytes(&self) -> usize {
        self.claims.len() + self.events.len()
    }

    /// Nothing more should come into it.
    pub(super) fn is_full(&self) -> bool {
        self.claims.len() >= MAX_EVENTS * CLAIM || self.events.len() >= MAX_BYTES
    }

    /// Takes the next event.
    pub(super) fn push(&mut self, made: &Made, received: &Received) {
        if self.is_empty() {
            self.first = made.seq;
        }
        self.last = made.seq;
        self.claims.extend(made.key.to_le_bytes());
        self.claims.extend(made.until.to_le_bytes());
        let start = self.events.len();
        self.events.extend([0; 4]);
        write(&mut self.events, received);
        let length = length(self.events.len() - start - 4).to_le_bytes();
        self.events[start..start + 4].copy_from_slice(&length);
    }

    /// Makes room for the next events.
    pub(super) fn clear(&mut self) {
        self.claims.clear();
        self.events.clear();
        // What one long body has taken is not held for ever.
        self.events.shrink_to(2 * MAX_BYTES);
    }
}

impl<Bytes: AsRef<[u8]>> Block<Bytes> {
    /// The block without its events up to `up_to`.
    pub(super) fn without(&self, up_to: Seq) -> Option<Block> {
        let gone = usize::try_from(up_to.saturating_add(1).saturating_sub(self.first)).ok()?;
        let mut events = self.events.as_ref();
        for _ in 0..gone {
            skip(&mut events)?;
        }
        Some(Block {
            first: self.first.max(up_to.saturating_add(1)),
            last: self.last,
            kept_at: self.kept_at,
            claims: self.claims.as_ref().get(gone * CLAIM..)?.to_vec(),
            events: events.to_vec(),
        })
    }

    /// The claims that its events made; `None` where the block is something else.
    pub(super) fn made(&self) -> Option<impl Iterator<Item = Made>> {
        let (claims, rest) = self.claims.as_ref().as_chunks::<CLAIM>();
        let whole = rest.is_empty() && claims.len() as u64 == self.length();
        whole.then(|| {
            (self.first..).zip(claims).map(|(seq, claim)| {
                let (key, until) = claim.split_first_chunk().expect("16 of 24");
                Made {
                    key: u128::from_le_bytes(*key),
                    seq,
                    until: i64::from_le_bytes(until.try_into().expect("8 of 8")),
                }
            })
        })
    }

    /// Its events after `after`, in their order; `None` where one cannot be read.
    pub(super) fn records(&self, after: Seq) -> impl Iterator<Item = Option<Record>> {
        let kept_at = Timestamp::from_millisecond(self.kept_at).unwrap_or_default();
        let mut events = self.events.as_ref();
        (self.first..=self.last).filter_map(move |seq| {
            let event = take(&mut events);
            let record = |received| Record {
                seq,
                kept_at,
                received: Arc::new(received),
                events: None,
            };
            (seq > after).then(|| event.and_then(read).map(record))
        })
    }

    fn length(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }
}

fn write(to: &mut Vec<u8>, received: &Received) {
    let at = i64::try_from(received.received_at.as_nanosecond()).unwrap_or(i64::MAX);
    to.extend(received.id.as_bytes());
    to.extend(at.to_le_bytes());
    put(to, received.source.as_bytes());
    match &received.session {
        Some(session) => put(to, session.as_bytes()),
        None => to.extend(ABSENT.to_le_bytes()),
    }
    to.extend(length(received.headers.len()).to_le_bytes());
    for (name, value) in &received.headers {
        put(to, name.as_bytes());
        put(to, value);
    }
    put(to, &received.body);
}

fn read(mut event: &[u8]) -> Option<Received> {
    let from = &mut event;
    let id = from.split_off(..16)?.try_into().ok()?;
    let at = i64::from_le_bytes(from.split_off(..8)?.try_into().ok()?);
    let source = text(take(from)?)?;
    let session = match from.starts_with(&ABSENT.to_le_bytes()) {
        true => from.split_off(..4).map(|_| None)?,
        false => Some(text(take(from)?)?.to_owned()),
    };
    let mut headers = Vec::new();
    for _ in 0..number(from)? {
        let name = Cow::Owned(text(take(from)?)?.to_owned());
        headers.push((name, Bytes::copy_from_slice(take(from)?)));
    }
    let mut received = Received::new(source, Bytes::copy_from_slice(take(from)?));
    received.id = Uuid::from_bytes(id);
    received.session = session;
    received.received_at = Timestamp::from_nanosecond(at.into()).ok()?;
    received.headers = headers;
    from.is_empty().then_some(received)
}

fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(length(bytes.len()).to_le_bytes());
    to.extend_from_slice(bytes);
}

fn take<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(number(from)?).ok()?;
    from.split_off(..length)
}

fn skip(from: &mut &[u8]) -> Option<()> {
    take(from).map(drop)
}

fn number(from: &mut &[u8]) -> Option<u32> {
    from.split_off(..4)?.try_into().ok().map(u32::from_le_bytes)
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// A body is never longer than SQLite's largest value, which is less than 2³¹ bytes.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(ABSENT - 1)
}

const ABSENT: u32 = u32::MAX;

const CLAIM: usize = 24;

pub(super) const MAX_EVENTS: usize = 256;
const MAX_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

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
            received.session = session;
            let headers = headers.into_iter();
            let headers = headers.map(|(name, value)| (Cow::Owned(name), value.into()));
            received.headers = headers.collect();
            received
        })
    }

    fn made(seq: Seq) -> Made {
        Made {
            key: u128::from(seq) << 70 | 5,
            seq,
            until: seq.cast_signed() * -3,
        }
    }

    fn filled(first: Seq, events: &[Received]) -> Block {
        let mut block = Block {
            kept_at: 12_345,
            ..Block::default()
        };
        for (seq, received) in (first..).zip(events) {
            block.push(&made(seq), received);
        }
        block
    }

    fn parts(received: &Received) -> impl PartialEq + std::fmt::Debug + use<> {
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
            events in vec(received(), 1..8),
            first in 1..1_000_000u64,
            after in 0..10u64,
            cut in 0..10u64,
        ) {
            let mut block = filled(first, &events);
            let last = first + events.len() as u64 - 1;
            prop_assert_eq!((block.first, block.last), (first, last));
            // What is cut away is gone, and the rest is what it was.
            let cut = (first + cut).min(last) - 1;
            block = block.without(cut).unwrap();
            prop_assert_eq!((block.first, block.last), (cut + 1, last));
            let claims: Vec<_> = block.made().unwrap().collect();
            prop_assert_eq!(claims, (cut + 1..=last).map(made).collect::<Vec<_>>());
            let after = first + after;
            let records: Vec<_> = block.records(after).map(Option::unwrap).collect();
            let left: Vec<_> = (first..).zip(&events)
                .filter(|(seq, _)| *seq > cut && *seq > after)
                .collect();
            prop_assert_eq!(records.len(), left.len());
            for (record, (seq, received)) in records.iter().zip(left) {
                prop_assert_eq!(record.seq, seq);
                prop_assert_eq!(record.kept_at.as_millisecond(), 12_345);
                prop_assert_eq!(parts(&record.received), parts(received));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            first in 1..10u64,
            length in 0..10u64,
            claims in vec(any::<u8>(), 0..80),
            events in vec(any::<u8>(), 0..200),
            up_to in 0..20u64,
        ) {
            let block = Block { first, last: first + length, kept_at: i64::MAX, claims, events };
            if let Some(made) = block.made() {
                prop_assert_eq!(made.count() as u64, length + 1);
            }
            prop_assert_eq!(block.records(0).count() as u64, length + 1);
            block.without(up_to);
        }

        #[test]
        fn cut_short_an_event_is_refused(
            events in vec(received(), 1..4),
            at in any::<prop::sample::Index>(),
        ) {
            let mut block = filled(1, &events);
            let at = at.index(block.events.len());
            block.events.truncate(at);
            prop_assert!(block.records(0).any(|record| record.is_none()));
        }
    }

    #[test]
    fn it_is_full_by_number_and_by_bytes() {
        let small = Received::new("source", "{}");
        let mut block = Block::default();
        for seq in 1..=MAX_EVENTS as u64 {
            assert!(!block.is_full(), "{seq}");
            block.push(&made(seq), &small);
        }
        assert!(block.is_full());
        block.clear();
        assert!(block.is_empty() && !block.is_full());
        block.push(&made(1), &Received::new("source", vec![b'x'; MAX_BYTES]));
        assert!(block.is_full());
        block.clear();
        assert!(block.events.capacity() <= 2 * MAX_BYTES);
    }
}
