//! Attempts, and the blobs that store them: about 9 bytes an attempt, beside the texts of failed ones.
//!
//! Attempts are stored in buckets of consecutive bodies, so the timeline of an event is in the few
//! blobs of one bucket, whenever the attempts were made. A blob holds the consumers' names and the
//! outcomes, then the attempts sorted by event, in postcard's encoding. Numbers and times are stored
//! as differences from the attempt before.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::journal::{Part, Position, Seq};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) position: Position,
    /// Nanoseconds since 1970.
    pub(super) at: i64,
    pub(super) consumer: Arc<str>,
    pub(super) attempt: u32,
    pub(super) took_ms: u32,
    /// `None` for an attempt that succeeded, as nearly all do.
    pub(super) failure: Option<Failure>,
}

/// How an attempt has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) outcome: Arc<str>,
    /// What the other side has answered.
    pub(super) answer: Option<Arc<str>>,
}

/// Returns the bucket of a body, if a bucket holds `size` consecutive bodies, as the id of the
/// bucket's first blob. A bucket has at most [`PARTS`] blobs.
pub(super) fn first_blob(seq: Seq, size: u64) -> u64 {
    seq / size * PARTS
}

/// The most blobs in one bucket. Part of the format.
pub(super) const PARTS: u64 = 4096;

/// What postcard writes into a blob.
#[derive(Serialize, Deserialize)]
struct Blob<'a> {
    #[serde(borrow)]
    texts: Vec<&'a str>,
    attempts: Vec<StoredAttempt>,
}

/// An [`Attempt`] whose texts are places in the list, relative to the attempt before.
#[derive(Serialize, Deserialize)]
struct StoredAttempt {
    seq: i64,
    part: Part,
    at: i64,
    consumer: u32,
    attempt: u32,
    took_ms: u32,
    /// The outcome, and the answer where there is one.
    failure: Option<(u32, Option<u32>)>,
}

/// Encodes attempts, which must be sorted by event, as one blob.
pub(super) fn encode<'a>(attempts: impl IntoIterator<Item = &'a Attempt>) -> Vec<u8> {
    let mut texts = Vec::new();
    let mut places: HashMap<&str, u32, RandomState> = HashMap::default();
    let mut before = (0, 0);
    let stored = attempts.into_iter().map(|attempt| {
        let mut place = |text| {
            *places.entry(text).or_insert_with(|| {
                texts.push(text);
                u32::try_from(texts.len() - 1).expect("a blob has few attempts")
            })
        };
        let (seq, at) = (attempt.position.seq().cast_signed(), attempt.at);
        let (seq_before, at_before) = std::mem::replace(&mut before, (seq, at));
        StoredAttempt {
            seq: seq.wrapping_sub(seq_before),
            part: attempt.position.part(),
            at: at.wrapping_sub(at_before),
            consumer: place(&attempt.consumer),
            attempt: attempt.attempt,
            took_ms: attempt.took_ms,
            failure: { attempt.failure.as_ref() }.map(|failure| {
                let outcome = place(&failure.outcome);
                (outcome, failure.answer.as_deref().map(place))
            }),
        }
    });
    let attempts = stored.collect();
    postcard::to_allocvec(&Blob { texts, attempts }).expect("memory takes any length")
}

/// Decodes what [`encode`] wrote. Returns `None` for any other bytes.
pub(super) fn decode(blob: &[u8]) -> Option<Vec<Attempt>> {
    let (Blob { texts, attempts }, rest) = postcard::take_from_bytes(blob).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let texts: Vec<Arc<str>> = texts.into_iter().map(Arc::from).collect();
    let text = |place: u32| texts.get(place as usize).cloned();
    let (mut seq, mut at) = (0i64, 0i64);
    let attempts = attempts.into_iter().map(|stored| {
        seq = seq.wrapping_add(stored.seq);
        at = at.wrapping_add(stored.at);
        Some(Attempt {
            position: Position::new(seq.cast_unsigned(), stored.part),
            at,
            consumer: text(stored.consumer)?,
            attempt: stored.attempt,
            took_ms: stored.took_ms,
            failure: match stored.failure {
                Some((outcome, answer)) => Some(Failure {
                    outcome: text(outcome)?,
                    answer: match answer {
                        Some(place) => Some(text(place)?),
                        None => None,
                    },
                }),
                None => None,
            },
        })
    });
    attempts.collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn attempt() -> impl Strategy<Value = Attempt> {
        let texts = || proptest::sample::select(vec!["", "handler:a", "b", "not done after 1s"]);
        (
            prop_oneof![any::<u64>(), 0..50u64],
            1..4u16,
            any::<i64>(),
            texts(),
            any::<(u32, u32)>(),
            proptest::option::of((texts(), proptest::option::of(texts()))),
        )
            .prop_map(|(seq, part, at, consumer, numbers, failure)| Attempt {
                position: Position::new(seq, part),
                at,
                consumer: consumer.into(),
                attempt: numbers.0,
                took_ms: numbers.1,
                failure: failure.map(|(outcome, answer)| Failure {
                    outcome: outcome.into(),
                    answer: answer.map(Arc::from),
                }),
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
