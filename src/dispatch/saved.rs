//! [`Saved`]: what a journal stores about a consumer.

use jiff::fmt::serde::timestamp::millisecond;
use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use super::progress::{Positions, Progress};
use crate::Timestamp;
use crate::journal::{Part, Position, Seq};

/// What a journal stores about a consumer: a head in JSON and two bitmaps. Times are stored as
/// milliseconds since 1970. Older versions did not write all of the fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Saved {
    #[serde(flatten)]
    pub(crate) progress: Progress,
    pub(crate) waiting: Vec<Waiting>,
    /// Events to be replayed, settled or not. In the head are only those that older versions wrote there.
    #[serde(default, skip_serializing)]
    pub(crate) replaying: Positions,
    /// Nothing starts until an administrator resumes the consumer.
    pub(crate) paused: bool,
    /// When the first failure since the last success happened.
    #[serde(with = "millisecond::optional")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failing_since: Option<Timestamp>,
    /// Set while the consumer is suspended because nothing succeeded for too long, until an
    /// administrator resumes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) suspended: Option<Suspended>,
    /// When this was saved: an event waits no longer than it had to at that time, even if the clock was
    /// set back since.
    #[serde(with = "millisecond::optional")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) saved_at: Option<Timestamp>,
}

/// An event that was tried and waits for a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) seq: Seq,
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub(crate) part: Part,
    pub(crate) attempts: u32,
    /// The earliest time of the next attempt.
    #[serde(with = "millisecond::required")]
    pub(crate) due: Timestamp,
}

/// Why nothing is delivered to a consumer until an administrator resumes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "(i64, String)")]
pub(crate) struct Suspended {
    /// When the suspension began.
    #[serde(with = "millisecond::required")]
    pub(crate) since: Timestamp,
    /// How the last attempt before it ended.
    pub(crate) reason: String,
}

impl Saved {
    /// The bytes to store: the head as JSON, preceded by its length, then the two bitmaps.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let head = serde_json::to_vec(self).expect("numbers and text");
        let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
        bytes.extend(head);
        for bitmap in [&self.progress.above, &self.replaying.0] {
            let written = bitmap.serialize_into(&mut bytes);
            written.expect("a vector takes everything");
        }
        bytes
    }

    /// Reads what [`Saved::encode`] wrote; `None` for any other bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (head, mut bitmaps) = rest.split_at_checked(length)?;
        let mut saved: Self = serde_json::from_slice(head).ok()?;
        saved.progress.above = RoaringTreemap::deserialize_from(&mut bitmaps).ok()?;
        saved.replaying.0 |= RoaringTreemap::deserialize_from(&mut bitmaps).ok()?;
        Some(saved)
    }
}

impl Waiting {
    pub(super) fn new(position: Position, attempts: u32, due: Timestamp) -> Self {
        Self {
            seq: position.seq(),
            part: position.part(),
            attempts,
            due,
        }
    }

    pub(super) fn position(&self) -> Position {
        Position::new(self.seq, self.part)
    }
}

fn first() -> Part {
    1
}

// serde passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_first(part: &Part) -> bool {
    *part == 1
}

/// A suspension is stored as a pair.
impl From<Suspended> for (i64, String) {
    fn from(suspended: Suspended) -> Self {
        (suspended.since.as_millisecond(), suspended.reason)
    }
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
        let fields = (position(), any::<u32>(), time());
        fields.prop_map(|(position, attempts, due)| Waiting::new(position, attempts, due))
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
        let millisecond = |at| Timestamp::from_millisecond(at).unwrap();
        let head = br#"{"floor":7,"paused":true,"waiting":[{"seq":9,"attempts":2,"due":5}]}"#;
        let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
        bytes.extend(head);
        for _ in 0..2 {
            RoaringTreemap::new().serialize_into(&mut bytes).unwrap();
        }
        let expected = Saved {
            progress: Progress::starting_after(7),
            waiting: vec![Waiting::new(Position::first(9), 2, millisecond(5))],
            paused: true,
            ..Saved::default()
        };
        assert_eq!(Saved::decode(&bytes), Some(expected));
    }

    /// The bytes of a version that wrote the further events of replayed bodies into the head.
    #[test]
    fn the_earlier_form_of_replays_is_read() {
        let head =
            br#"{"floor":7,"paused":false,"waiting":[{"seq":9,"part":2,"attempts":1,"due":-5}],
            "failing_since":1700000000123,"suspended":[-1,"gone"],"saved_at":0,
            "partly":[[9,3,[1,3]]],"replaying":[[3,2],[281474976710655,65535]]}"#;
        let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
        bytes.extend(head);
        let bitmaps = [
            RoaringTreemap::from_iter([11]),
            RoaringTreemap::from_iter([3, 5]),
        ];
        for bitmap in bitmaps {
            bitmap.serialize_into(&mut bytes).unwrap();
        }
        let mut progress = Progress::starting_after(7);
        progress.settle_body(11);
        progress.open(9, 3);
        progress.settle(Position::new(9, 1));
        progress.settle(Position::new(9, 3));
        let millisecond = |at| Timestamp::from_millisecond(at).unwrap();
        let replaying = [(3, 1), (3, 2), (5, 1), (281_474_976_710_655, 65_535)];
        let expected = Saved {
            progress,
            waiting: vec![Waiting::new(Position::new(9, 2), 1, millisecond(-5))],
            replaying: Positions::from(replaying.to_vec()),
            paused: false,
            failing_since: Some(millisecond(1_700_000_000_123)),
            suspended: Some(Suspended {
                since: millisecond(-1),
                reason: "gone".to_owned(),
            }),
            saved_at: Some(millisecond(0)),
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
