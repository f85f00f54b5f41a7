//! [`Saved`]: what a journal stores about a consumer.

use std::collections::BTreeMap;

use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use super::positions::Positions;
use super::progress::{Partly, Progress};
use crate::Timestamp;
use crate::journal::{Part, Position, Seq};

/// What a journal stores about a consumer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Saved {
    pub(crate) progress: Progress,
    pub(crate) waiting: Vec<Waiting>,
    /// Events to be replayed, settled or not.
    pub(crate) replaying: Positions,
    /// Nothing starts until an administrator resumes the consumer.
    pub(crate) paused: bool,
    /// When the first failure since the last success happened.
    pub(crate) failing_since: Option<Timestamp>,
    /// Set while the consumer is suspended because nothing succeeded for too long, until an
    /// administrator resumes it.
    pub(crate) suspended: Option<Suspended>,
    /// When this was saved: an event waits no longer than it had to at that time, even if the clock was
    /// set back since.
    pub(crate) saved_at: Option<Timestamp>,
}

/// An event that was tried and waits for a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) position: Position,
    pub(crate) attempts: u32,
    /// The earliest time of the next attempt, in milliseconds since 1970.
    pub(crate) due: i64,
}

/// Why nothing is delivered to a consumer until an administrator resumes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suspended {
    /// When the suspension began.
    pub(crate) since: Timestamp,
    /// How the last attempt before it ended.
    pub(crate) reason: String,
}

/// The part of [`Saved`] that is not a bitmap. The optional fields are those that older versions did not
/// write. Times are milliseconds since 1970.
#[derive(Serialize, Deserialize)]
struct Head {
    floor: Seq,
    paused: bool,
    waiting: Vec<WaitingRow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failing_since: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suspended: Option<(i64, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    saved_at: Option<i64>,
    /// Body, number of its events, and the settled ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    partly: Vec<(Seq, Part, Vec<Part>)>,
    /// Events to be replayed that are not the first of their bodies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    replaying: Vec<(Seq, Part)>,
}

#[derive(Serialize, Deserialize)]
struct WaitingRow {
    seq: Seq,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    part: Part,
    attempts: u32,
    due: i64,
}

impl Saved {
    /// The bytes to store: the head as JSON, preceded by its length, then the two bitmaps.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (replaying, further) = self.replaying.to_parts();
        let suspended = self.suspended.as_ref();
        let partly = self.progress.partly.iter();
        let head = Head {
            floor: self.progress.floor,
            paused: self.paused,
            waiting: self.waiting.iter().map(WaitingRow::from).collect(),
            failing_since: self.failing_since.map(Timestamp::as_millisecond),
            suspended: suspended
                .map(|suspended| (suspended.since.as_millisecond(), suspended.reason.clone())),
            saved_at: self.saved_at.map(Timestamp::as_millisecond),
            partly: partly
                .map(|(seq, body)| (*seq, body.of, body.settled.iter().copied().collect()))
                .collect(),
            replaying: further,
        };
        let head = serde_json::to_vec(&head).expect("plain numbers");
        let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
        bytes.extend(head);
        for bitmap in [&self.progress.above, replaying] {
            bitmap
                .serialize_into(&mut bytes)
                .expect("a vector takes everything");
        }
        bytes
    }

    /// Reads what [`Saved::encode`] wrote; `None` for any other bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (head, mut bitmaps) = rest.split_at_checked(length)?;
        let head: Head = serde_json::from_slice(head).ok()?;
        let suspended = match head.suspended {
            None => None,
            Some((since, reason)) => Some(Suspended {
                since: time(since)?,
                reason,
            }),
        };
        let partly = head.partly.into_iter().map(|(seq, of, settled)| {
            let settled = settled.into_iter().collect();
            (seq, Partly { of, settled })
        });
        let partly: BTreeMap<Seq, Partly> = partly.collect();
        let above = RoaringTreemap::deserialize_from(&mut bitmaps).ok()?;
        let replaying = RoaringTreemap::deserialize_from(&mut bitmaps).ok()?;
        Some(Self {
            progress: Progress {
                floor: head.floor,
                above,
                partly,
            },
            waiting: head.waiting.iter().map(Waiting::from).collect(),
            replaying: Positions::from_parts(replaying, &head.replaying),
            paused: head.paused,
            failing_since: optional(head.failing_since)?,
            saved_at: optional(head.saved_at)?,
            suspended,
        })
    }
}

impl From<&Waiting> for WaitingRow {
    fn from(waiting: &Waiting) -> Self {
        Self {
            seq: waiting.position.seq(),
            part: waiting.position.part(),
            attempts: waiting.attempts,
            due: waiting.due,
        }
    }
}

impl From<&WaitingRow> for Waiting {
    fn from(row: &WaitingRow) -> Self {
        Self {
            position: Position::new(row.seq, row.part),
            attempts: row.attempts,
            due: row.due,
        }
    }
}

fn one() -> Part {
    1
}

// serde passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_one(part: &Part) -> bool {
    *part == 1
}

fn optional(milliseconds: Option<i64>) -> Option<Option<Timestamp>> {
    milliseconds.map_or(Some(None), |at| time(at).map(Some))
}

fn time(milliseconds: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(milliseconds).ok()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn position() -> impl Strategy<Value = Position> {
        let seq = prop_oneof![8 => 0..40u64, 1 => 65_530..65_545u64, 1 => 0..1u64 << 47];
        (seq, prop_oneof![9 => Just(1), 1 => 1..9u16])
            .prop_map(|(seq, part)| Position::new(seq, part))
    }

    fn waiting() -> impl Strategy<Value = Waiting> {
        let fields = (position(), any::<u32>(), any::<i64>());
        fields.prop_map(|(position, attempts, due)| Waiting {
            position,
            attempts,
            due,
        })
    }

    fn time() -> impl Strategy<Value = Timestamp> {
        // The full range that can be stored, in milliseconds.
        (-300_000_000_000_000..250_000_000_000_000i64)
            .prop_map(|time| Timestamp::from_millisecond(time).unwrap())
    }

    fn saved() -> impl Strategy<Value = Saved> {
        let parts = (
            0..40u64,
            vec(position(), 0..50),
            vec(waiting(), 0..5),
            vec(position(), 0..5),
            any::<bool>(),
            prop::option::of(time()),
            prop::option::of((time(), ".*")),
            prop::option::of(time()),
        );
        parts.prop_map(
            |(floor, settled, waiting, replaying, paused, failing, suspended, saved_at)| {
                let mut progress = Progress::starting_after(floor);
                for position in settled {
                    progress.open(position.seq(), position.part() + 1);
                    progress.settle(position);
                }
                Saved {
                    progress,
                    waiting,
                    replaying: replaying.into_iter().collect(),
                    paused,
                    failing_since: failing,
                    suspended: suspended.map(|(since, reason)| Suspended { since, reason }),
                    saved_at,
                }
            },
        )
    }

    #[test]
    fn what_an_older_version_wrote_is_read() {
        let head = br#"{"floor":7,"paused":true,"waiting":[{"seq":9,"attempts":2,"due":5}]}"#;
        let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
        bytes.extend(head);
        for _ in 0..2 {
            RoaringTreemap::new().serialize_into(&mut bytes).unwrap();
        }
        let expected = Saved {
            progress: Progress::starting_after(7),
            waiting: vec![Waiting {
                position: Position::first(9),
                attempts: 2,
                due: 5,
            }],
            paused: true,
            ..Saved::default()
        };
        assert_eq!(Saved::decode(&bytes), Some(expected));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_encoded_is_decoded(saved in saved()) {
            prop_assert_eq!(Saved::decode(&saved.encode()), Some(saved));
        }

        #[test]
        fn cut_short_it_is_something_else(saved in saved(), at in any::<prop::sample::Index>()) {
            let bytes = saved.encode();
            prop_assert_eq!(Saved::decode(&bytes[..at.index(bytes.len())]), None);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
            // Everything that decodes can be used.
            if let Some(mut saved) = Saved::decode(&bytes) {
                saved.progress.settle_body(saved.progress.floor().saturating_add(1));
            }
        }

        #[test]
        fn bytes_with_some_changed_are_read_or_refused(
            saved in saved(),
            changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bytes = saved.encode();
            for (index, byte) in changes {
                let length = bytes.len();
                bytes[index.index(length)] = byte;
            }
            if let Some(mut saved) = Saved::decode(&bytes) {
                let next = saved.progress.floor().saturating_add(1);
                saved.progress.settle_body(next);
                prop_assert!(saved.progress.is_body_settled(next));
                saved.encode();
            }
        }
    }
}
