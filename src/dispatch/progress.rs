//! [`Progress`]: how far a consumer has come in a journal.
//!
//! A floor (everything up to it is settled), the settled ones above it, and the retries that wait.
//! Small whatever the journal's size, and written with each batch.

use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::journal::Seq;

/// How far a consumer has come.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Progress {
    floor: Seq,
    above: RoaringTreemap,
}

impl Progress {
    /// A consumer that starts after `floor`.
    pub(crate) fn starting_after(floor: Seq) -> Self {
        Self {
            floor,
            above: RoaringTreemap::new(),
        }
    }

    /// Everything up to here is settled.
    pub(crate) fn floor(&self) -> Seq {
        self.floor
    }

    /// Whether the event needs nothing more.
    pub(crate) fn is_settled(&self, seq: Seq) -> bool {
        seq <= self.floor || self.above.contains(seq)
    }

    /// The event needs nothing more.
    pub(crate) fn settle(&mut self, seq: Seq) {
        if seq <= self.floor {
            return;
        }
        if seq > self.floor + 1 {
            self.above.insert(seq);
            return;
        }
        self.floor = seq;
        while self.above.min() == Some(self.floor + 1) {
            self.floor += 1;
            self.above.remove(self.floor);
        }
    }

    /// How many from `first` to `last` are not settled.
    pub(crate) fn unsettled(&self, first: Seq, last: Seq) -> u64 {
        let first = first.max(self.floor.saturating_add(1));
        if last < first {
            return 0;
        }
        // Nothing up to the floor is in the bitmap.
        let settled = self.above.rank(last) - self.above.rank(first - 1);
        last - first + 1 - settled
    }

    /// How many up to `head` are not settled.
    pub(crate) fn lag(&self, head: Seq) -> u64 {
        head.saturating_sub(self.floor)
            .saturating_sub(self.above.len())
    }
}

/// An event that was tried and waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) seq: Seq,
    pub(crate) attempts: u32,
    /// The earliest time of the next attempt, in milliseconds since 1970.
    pub(crate) due: i64,
}

/// What a journal keeps of a consumer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Saved {
    pub(crate) progress: Progress,
    pub(crate) waiting: Vec<Waiting>,
    /// Events to be handed over once more, settled or not.
    pub(crate) replaying: RoaringTreemap,
    /// Nothing starts until somebody says so.
    pub(crate) paused: bool,
    /// When the first of the failures came that no success has followed.
    pub(crate) failing_since: Option<Timestamp>,
    /// Nothing starts until somebody says so, because nothing has succeeded for long.
    pub(crate) suspended: Option<Suspended>,
    /// When this was saved: what waits until a later time waits no longer than it did then, also
    /// where the clock was set back since.
    pub(crate) saved_at: Option<Timestamp>,
}

/// Why nothing is handed to a consumer until somebody says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suspended {
    /// When that began.
    pub(crate) since: Timestamp,
    /// How the last attempt before it ended.
    pub(crate) reason: String,
}

/// The part of [`Saved`] that is no bitmap.
#[derive(Serialize, Deserialize)]
struct Head {
    floor: Seq,
    paused: bool,
    waiting: Vec<Waiting>,
    // Older programs did not write what follows. Times are milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failing_since: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suspended: Option<(i64, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    saved_at: Option<i64>,
}

impl Saved {
    /// The bytes to keep: the head as JSON with its length before it, then the two bitmaps.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let head = Head {
            floor: self.progress.floor,
            paused: self.paused,
            waiting: self.waiting.clone(),
            failing_since: self.failing_since.map(Timestamp::as_millisecond),
            suspended: self
                .suspended
                .as_ref()
                .map(|suspended| (suspended.since.as_millisecond(), suspended.reason.clone())),
            saved_at: self.saved_at.map(Timestamp::as_millisecond),
        };
        let head = serde_json::to_vec(&head).expect("plain numbers");
        let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
        bytes.extend(head);
        for bitmap in [&self.progress.above, &self.replaying] {
            bitmap
                .serialize_into(&mut bytes)
                .expect("a vector takes everything");
        }
        bytes
    }

    /// Reads what [`Saved::encode`] wrote; `None` where the bytes are something else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (head, mut bitmaps) = rest.split_at_checked(length)?;
        let head: Head = serde_json::from_slice(head).ok()?;
        Some(Self {
            progress: Progress {
                floor: head.floor,
                above: RoaringTreemap::deserialize_from(&mut bitmaps).ok()?,
            },
            waiting: head.waiting,
            replaying: RoaringTreemap::deserialize_from(&mut bitmaps).ok()?,
            paused: head.paused,
            failing_since: optional(head.failing_since)?,
            saved_at: optional(head.saved_at)?,
            suspended: match head.suspended {
                None => None,
                Some((since, reason)) => Some(Suspended {
                    since: time(since)?,
                    reason,
                }),
            },
        })
    }
}

fn optional(milliseconds: Option<i64>) -> Option<Option<Timestamp>> {
    milliseconds.map_or(Some(None), |at| time(at).map(Some))
}

fn time(milliseconds: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(milliseconds).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    fn seq() -> impl Strategy<Value = Seq> {
        // Mostly near the floor, where it moves; some across the bitmap's containers and beyond.
        prop_oneof![
            8 => 0..40u64,
            1 => 65_530..65_545u64,
            1 => (1u64 << 32) - 5..(1 << 32) + 5,
            1 => Just(Seq::MAX),
        ]
    }

    fn waiting() -> impl Strategy<Value = Waiting> {
        let fields = (any::<Seq>(), any::<u32>(), any::<i64>());
        fields.prop_map(|(seq, attempts, due)| Waiting { seq, attempts, due })
    }

    fn time() -> impl Strategy<Value = Timestamp> {
        // Whatever can be stored, to the millisecond.
        (-300_000_000_000_000..250_000_000_000_000i64)
            .prop_map(|time| Timestamp::from_millisecond(time).unwrap())
    }

    fn saved() -> impl Strategy<Value = Saved> {
        let parts = (
            seq(),
            vec(seq(), 0..50),
            vec(waiting(), 0..5),
            btree_set(any::<Seq>(), 0..5),
            any::<bool>(),
            prop::option::of(time()),
            prop::option::of((time(), ".*")),
            prop::option::of(time()),
        );
        parts.prop_map(
            |(floor, settled, waiting, replaying, paused, failing, suspended, saved_at)| {
                let mut progress = Progress::starting_after(floor);
                settled.into_iter().for_each(|seq| progress.settle(seq));
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
    fn what_an_older_program_wrote_is_read() {
        let head = br#"{"floor":7,"paused":true,"waiting":[{"seq":9,"attempts":2,"due":5}]}"#;
        let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
        bytes.extend(head);
        for _ in 0..2 {
            RoaringTreemap::new().serialize_into(&mut bytes).unwrap();
        }
        let expected = Saved {
            progress: Progress::starting_after(7),
            waiting: vec![Waiting {
                seq: 9,
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
        fn what_is_settled_in_any_order_is_settled_and_nothing_else(
            start in 0..20u64,
            settled in vec(seq(), 0..60),
        ) {
            let mut progress = Progress::starting_after(start);
            let mut model: BTreeSet<Seq> = (0..=start).collect();
            for seq in settled {
                progress.settle(seq);
                model.insert(seq);
                let floor = (0..).find(|seq| !model.contains(&(seq + 1))).unwrap();
                prop_assert_eq!(progress.floor(), floor);
                let above: Vec<_> = model.iter().copied().filter(|seq| *seq > floor).collect();
                prop_assert_eq!(progress.above.iter().collect::<Vec<_>>(), above);
                for seq in (0..45).chain(65_525..65_550).chain([Seq::MAX - 1, Seq::MAX]) {
                    prop_assert_eq!(progress.is_settled(seq), model.contains(&seq), "{}", seq);
                }
                let head = *model.last().unwrap();
                prop_assert_eq!(progress.lag(head), head - (model.len() as u64 - 1));
                for (first, last) in [(1, 44), (7, 7), (65_520, 65_550), (30, 20)] {
                    let unsettled = (first..=last).filter(|seq| !model.contains(seq)).count();
                    prop_assert_eq!(progress.unsettled(first, last), unsettled as u64);
                }
            }
        }

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
            // Whatever is read can be used.
            if let Some(mut saved) = Saved::decode(&bytes) {
                saved.progress.settle(saved.progress.floor().saturating_add(1));
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
                saved.progress.settle(next);
                prop_assert!(saved.progress.is_settled(next));
                saved.encode();
            }
        }
    }
}
