//! Attempts, and the blobs that store them: about 8 bytes an attempt.
//!
//! Attempts are stored in buckets of consecutive bodies, so the timeline of an event is in the few
//! blobs of one bucket, whenever the attempts were made. A blob holds the consumers' names and the
//! outcomes, then the attempts sorted by event. Numbers and times are stored as differences from
//! the attempt before.

use std::collections::HashMap;
use std::sync::Arc;

use super::bytes::{Bytes, put, put_signed, put_text};
use crate::journal::{Part, Position, Seq};

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt<T = Arc<str>> {
    pub(super) position: Position,
    /// Nanoseconds since 1970.
    pub(super) at: i64,
    pub(super) consumer: T,
    pub(super) attempt: u32,
    /// `None` for an attempt that succeeded, as nearly all do.
    pub(super) outcome: Option<T>,
}

impl<T: AsRef<str>> Attempt<T> {
    pub(super) fn outcome(&self) -> &str {
        self.outcome.as_ref().map_or("done", AsRef::as_ref)
    }
}

impl Attempt {
    /// Returns the same attempt with borrowed texts.
    pub(super) fn as_str(&self) -> Attempt<&str> {
        Attempt {
            position: self.position,
            at: self.at,
            consumer: &self.consumer,
            attempt: self.attempt,
            outcome: self.outcome.as_deref(),
        }
    }
}

/// Returns the bucket of a body; a bucket covers `size` consecutive bodies.
pub(super) fn bucket(seq: Seq, size: u64) -> u64 {
    seq / size
}

/// Encodes attempts, which must be sorted by event, as one blob.
pub(super) fn encode<T: AsRef<str>>(attempts: &[Attempt<T>]) -> Vec<u8> {
    let mut texts = Texts::default();
    let places: Vec<(u64, u64)> = attempts
        .iter()
        .map(|attempt| {
            let outcome = attempt.outcome.as_ref();
            let outcome = outcome.map_or(0, |outcome| texts.place(outcome.as_ref()) + 1);
            (texts.place(attempt.consumer.as_ref()), outcome)
        })
        .collect();
    let mut out = Vec::with_capacity(attempts.len() * 10);
    put(&mut out, texts.list.len() as u64);
    for text in &texts.list {
        put_text(&mut out, text);
    }
    put(&mut out, attempts.len() as u64);
    let mut before = (0u64, 0i64);
    for (attempt, (consumer, outcome)) in attempts.iter().zip(places) {
        let (seq, part) = (attempt.position.seq(), attempt.position.part());
        put_signed(&mut out, seq.wrapping_sub(before.0) as i64);
        put_signed(&mut out, attempt.at.wrapping_sub(before.1));
        if part == 1 {
            put(&mut out, consumer);
        } else {
            // A place past the end of the texts means that the part follows.
            put(&mut out, consumer + texts.list.len() as u64);
            put(&mut out, part.into());
        }
        put(&mut out, attempt.attempt.into());
        put(&mut out, outcome);
        before = (seq, attempt.at);
    }
    out
}

#[derive(Default)]
struct Texts<'a> {
    list: Vec<&'a str>,
    places: HashMap<&'a str, u64>,
}

impl<'a> Texts<'a> {
    fn place(&mut self, text: &'a str) -> u64 {
        // Consecutive attempts are often of one consumer.
        if let Some(last) = self.list.last()
            && *last == text
        {
            return self.list.len() as u64 - 1;
        }
        *self.places.entry(text).or_insert_with(|| {
            self.list.push(text);
            self.list.len() as u64 - 1
        })
    }
}

/// Decodes what [`encode`] wrote. Returns `None` for any other bytes.
pub(super) fn decode(blob: &[u8]) -> Option<Vec<Attempt<&str>>> {
    let mut bytes = Bytes(blob);
    let texts = (0..bytes.count(1)?).map(|_| bytes.text());
    let texts: Vec<&str> = texts.collect::<Option<_>>()?;
    let count = bytes.count(MIN_ATTEMPT)?;
    let mut attempts = Vec::with_capacity(count);
    let mut before = (0u64, 0i64);
    for _ in 0..count {
        before.0 = before.0.wrapping_add(bytes.signed()? as u64);
        before.1 = before.1.wrapping_add(bytes.signed()?);
        let mut consumer = bytes.index(2 * texts.len())? as usize;
        let mut part: Part = 1;
        if consumer >= texts.len() {
            consumer -= texts.len();
            part = Part::try_from(bytes.number()?).ok()?;
        }
        let attempt = u32::try_from(bytes.number()?).ok()?;
        let outcome = bytes.index(texts.len() + 1)?;
        attempts.push(Attempt {
            position: Position::new(before.0, part),
            at: before.1,
            consumer: texts[consumer],
            attempt,
            outcome: outcome.checked_sub(1).map(|place| texts[place as usize]),
        });
    }
    bytes.is_empty().then_some(attempts)
}

/// The bytes of the shortest attempt: five numbers of one byte each.
const MIN_ATTEMPT: usize = 5;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn attempt() -> impl Strategy<Value = Attempt<&'static str>> {
        let texts = || proptest::sample::select(vec!["", "handler:a", "b", "not done after 1s"]);
        (
            prop_oneof![any::<u64>(), 0..50u64],
            1..4u16,
            any::<i64>(),
            texts(),
            any::<u32>(),
            proptest::option::of(texts()),
        )
            .prop_map(|(seq, part, at, consumer, attempt, outcome)| Attempt {
                position: Position::new(seq, part),
                at,
                consumer,
                attempt,
                outcome,
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_encoded_is_read(attempts in vec(attempt(), 0..50)) {
            let blob = encode(&attempts);
            prop_assert_eq!(decode(&blob), Some(attempts));
            prop_assert_eq!(decode(&blob[..blob.len() - 1]), None);
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            noise in vec(any::<u8>(), 0..300),
            attempts in vec(attempt(), 1..20),
            at in any::<proptest::sample::Index>(),
            byte: u8,
        ) {
            decode(&noise);
            let mut blob = encode(&attempts);
            let at = at.index(blob.len());
            blob[at] = byte;
            decode(&blob);
        }
    }
}
