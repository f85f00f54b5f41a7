//! [`Progress`]: how far a consumer has come in a journal; [`Positions`]: a set of events.
//!
//! Progress is a floor (every body up to it is settled), the settled bodies above it, and the settled
//! events of partly settled bodies. Its size does not depend on the size of the journal.

use std::collections::{BTreeMap, BTreeSet};

use roaring::RoaringTreemap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::journal::{Part, Position, Seq};

/// How far a consumer has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(super) floor: Seq,
    /// The settled bodies above the floor.
    #[serde(skip)]
    pub(super) above: RoaringTreemap,
    /// The bodies of which only some events are settled.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[serde(serialize_with = "to_rows", deserialize_with = "from_rows")]
    partly: BTreeMap<Seq, Partly>,
}

/// A body with several events.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Partly {
    /// How many events it has.
    of: Part,
    settled: BTreeSet<Part>,
}

impl Progress {
    /// The progress of a consumer that starts after `floor`.
    pub(crate) fn starting_after(floor: Seq) -> Self {
        Self {
            floor,
            ..Self::default()
        }
    }

    /// Every body up to here is settled.
    pub(crate) fn floor(&self) -> Seq {
        self.floor
    }

    /// Whether all events of the body are settled.
    pub(crate) fn is_body_settled(&self, seq: Seq) -> bool {
        seq <= self.floor || self.above.contains(seq)
    }

    /// Whether the event is settled.
    pub(crate) fn is_settled(&self, position: Position) -> bool {
        let partly = || self.partly.get(&position.seq());
        self.is_body_settled(position.seq())
            || partly().is_some_and(|body| body.settled.contains(&position.part()))
    }

    /// Records that the body has `of` events: it is settled when all of them are.
    pub(crate) fn open(&mut self, seq: Seq, of: Part) {
        if of > 1 && !self.is_body_settled(seq) {
            self.partly.entry(seq).or_insert_with(|| Partly {
                of,
                settled: BTreeSet::new(),
            });
        }
    }

    /// Settles one event.
    pub(crate) fn settle(&mut self, position: Position) {
        let seq = position.seq();
        if let Some(body) = self.partly.get_mut(&seq) {
            body.settled.insert(position.part());
            if body.settled.len() < usize::from(body.of) {
                return;
            }
        }
        self.settle_body(seq);
    }

    /// Settles all events of the body.
    pub(crate) fn settle_body(&mut self, seq: Seq) {
        if seq <= self.floor {
            return;
        }
        self.partly.remove(&seq);
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

    /// How many bodies from `first` to `last` are not settled.
    pub(crate) fn unsettled(&self, first: Seq, last: Seq) -> u64 {
        let first = first.max(self.floor.saturating_add(1));
        if last < first {
            return 0;
        }
        // No body up to the floor is in the bitmap.
        let settled = self.above.rank(last) - self.above.rank(first - 1);
        last - first + 1 - settled
    }

    /// How many bodies up to `head` are not settled.
    pub(crate) fn lag(&self, head: Seq) -> u64 {
        head.saturating_sub(self.floor)
            .saturating_sub(self.above.len())
    }
}

/// Saves each body as a row: its number, the number of its events, and the settled ones.
fn to_rows<S: Serializer>(partly: &BTreeMap<Seq, Partly>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(
        partly
            .iter()
            .map(|(seq, body)| (seq, body.of, &body.settled)),
    )
}

fn from_rows<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Seq, Partly>, D::Error> {
    let rows = Vec::<(Seq, Part, BTreeSet<Part>)>::deserialize(from)?.into_iter();
    let partly = rows.map(|(seq, of, settled)| (seq, Partly { of, settled }));
    Ok(partly.collect())
}

/// A set of events, as a compressed bitmap. The first event of a body has the body's number there, which
/// are close together; the part above it tells the other events of a body apart.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(from = "Vec<(Seq, Part)>")]
pub(crate) struct Positions(pub(super) RoaringTreemap);

impl Positions {
    /// Adds an event. Returns whether it was not in the set.
    pub(super) fn insert(&mut self, position: Position) -> bool {
        self.0.insert(bit(position))
    }

    /// Removes an event. Returns whether it was in the set.
    pub(super) fn remove(&mut self, position: Position) -> bool {
        self.0.remove(bit(position))
    }

    pub(crate) fn contains(&self, position: Position) -> bool {
        self.0.contains(bit(position))
    }

    /// The number of events in the set.
    pub(super) fn len(&self) -> u64 {
        self.0.len()
    }

    /// All events: the first ones of their bodies, then the second ones, and so on.
    pub(super) fn iter(&self) -> impl Iterator<Item = Position> {
        let part = |bit: u64| (bit >> SEQ_BITS) as Part;
        let bits = self.0.iter();
        bits.map(move |bit| Position::new(bit & MAX_SEQ, part(bit).saturating_add(1)))
    }
}

/// The event's place in the bitmap.
fn bit(position: Position) -> u64 {
    (u64::from(position.part() - 1) << SEQ_BITS) | position.seq()
}

impl FromIterator<Position> for Positions {
    fn from_iter<I: IntoIterator<Item = Position>>(positions: I) -> Self {
        Self(positions.into_iter().map(bit).collect())
    }
}

impl From<Vec<(Seq, Part)>> for Positions {
    fn from(pairs: Vec<(Seq, Part)>) -> Self {
        let positions = pairs.iter().map(|(seq, part)| Position::new(*seq, *part));
        positions.collect()
    }
}

const SEQ_BITS: u32 = 48;
const MAX_SEQ: Seq = (1 << SEQ_BITS) - 1;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn seq() -> impl Strategy<Value = Seq> {
        // Mostly near the floor, where it moves; some span several of the bitmap's containers.
        prop_oneof![
            8 => 0..40u64,
            1 => 65_530..65_545u64,
            1 => (1u64 << 32) - 5..(1 << 32) + 5,
            1 => Just(Seq::MAX),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_settled_is_settled_and_nothing_else(
            start in 0..20u64,
            settled in vec(seq(), 0..60),
        ) {
            let mut progress = Progress::starting_after(start);
            let mut model: BTreeSet<Seq> = (0..=start).collect();
            for seq in settled {
                progress.settle_body(seq);
                model.insert(seq);
                let floor = (0..).find(|seq| !model.contains(&(seq + 1))).unwrap();
                prop_assert_eq!(progress.floor(), floor);
                let above: Vec<_> = model.iter().copied().filter(|seq| *seq > floor).collect();
                prop_assert_eq!(progress.above.iter().collect::<Vec<_>>(), above);
                for seq in (0..45).chain(65_525..65_550).chain([Seq::MAX - 1, Seq::MAX]) {
                    prop_assert_eq!(progress.is_body_settled(seq), model.contains(&seq), "{}", seq);
                }
                let head = *model.last().unwrap();
                prop_assert_eq!(progress.lag(head), head - (model.len() as u64 - 1));
                for (first, last) in [(1, 44), (7, 7), (65_520, 65_550), (30, 20)] {
                    let unsettled = (first..=last).filter(|seq| !model.contains(seq)).count();
                    prop_assert_eq!(progress.unsettled(first, last), unsettled as u64);
                }
            }
        }

        /// Bodies of one to three events.
        #[test]
        fn a_body_is_settled_with_its_last_event(
            settled in vec((1..12u64, 1..4u16), 0..80),
        ) {
            let parts = |seq: Seq| (seq % 3 + 1) as Part;
            let mut progress = Progress::default();
            for seq in 1..12 {
                progress.open(seq, parts(seq));
            }
            let mut model = BTreeSet::new();
            for (seq, part) in settled {
                let position = Position::new(seq, part.min(parts(seq)));
                progress.settle(position);
                model.insert(position);
                for seq in 1..12 {
                    let mut all = (1..=parts(seq)).map(|part| Position::new(seq, part));
                    for position in all.clone() {
                        prop_assert_eq!(progress.is_settled(position), model.contains(&position));
                    }
                    let whole = all.all(|position| model.contains(&position));
                    prop_assert_eq!(progress.is_body_settled(seq), whole, "{}", seq);
                }
            }
        }

        #[test]
        fn positions_are_a_set(
            changes in vec((0..9u64, 1..4u16, any::<bool>()), 0..60),
        ) {
            let (mut set, mut model) = (Positions::default(), BTreeSet::new());
            for (seq, part, insert) in changes {
                let position = Position::new(seq, part);
                if insert {
                    prop_assert_eq!(set.insert(position), model.insert(position));
                } else {
                    prop_assert_eq!(set.remove(position), model.remove(&position));
                }
                prop_assert_eq!(set.contains(position), insert);
                prop_assert_eq!(set.len(), model.len() as u64);
            }
            prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), model.clone());
            prop_assert_eq!(model.into_iter().collect::<Positions>(), set);
        }
    }
}
