//! [`Progress`]: how far a consumer has come in a journal; [`Positions`]: a set of events.
//!
//! Progress is a floor (every body up to it is settled), the settled bodies above it, and the settled
//! events of partly settled bodies. Both types are divided into chunks of [`CHUNK`] bodies, and note which
//! chunks have changed, so that a save writes only those.

use std::collections::{BTreeMap, BTreeSet};

use roaring::{RoaringBitmap, RoaringTreemap};

use crate::journal::{Part, Position, Seq};

/// How far a consumer has come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    floor: Seq,
    /// The settled bodies above the floor.
    above: RoaringTreemap,
    /// The bodies of which only some events are settled.
    partly: BTreeMap<Seq, Partly>,
    pub(super) changed: Changed,
}

/// What has changed since the last save.
#[derive(Debug, Clone, Default)]
pub(super) struct Changed {
    /// The chunks of settled bodies.
    pub(super) chunks: BTreeSet<Chunk>,
    /// The partly settled bodies.
    pub(super) partly: BTreeSet<Seq>,
}

/// A body with several events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Partly {
    /// How many events it has.
    pub(super) of: Part,
    pub(super) settled: BTreeSet<Part>,
}

/// The number of a chunk: that of its bodies, divided by [`CHUNK`].
pub(super) type Chunk = u64;

/// How many bodies one chunk has; a saved chunk has at most 513 bytes.
const CHUNK: u64 = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 12;

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

    /// The first body after `seq` that is not settled.
    pub(crate) fn next_unsettled(&self, seq: Seq) -> Seq {
        let next = seq.max(self.floor).saturating_add(1);
        let mut settled = self.above.iter();
        settled.advance_to(next);
        let run = (next..).zip(settled);
        let run = run.take_while(|(expected, found)| expected == found);
        next + run.count() as u64
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
            self.changed.partly.insert(seq);
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
        if self.partly.remove(&seq).is_some() {
            self.changed.partly.insert(seq);
        }
        if seq > self.floor + 1 {
            self.above.insert(seq);
            self.changed.chunks.insert(seq / CHUNK);
            return;
        }
        self.floor = seq;
        while self.above.min() == Some(self.floor + 1) {
            self.floor += 1;
            self.above.remove(self.floor);
            self.changed.chunks.insert(self.floor / CHUNK);
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

    /// How many bodies up to `head` at least one of these has not settled.
    pub(crate) fn lag_of_all(all: &[&Self], head: Seq) -> u64 {
        let Some(floor) = all.iter().map(|one| one.floor).min() else {
            return 0;
        };
        let mut settled: Option<RoaringTreemap> = None;
        for one in all {
            let mut own = one.above.clone();
            own.insert_range(floor.saturating_add(1)..=one.floor);
            settled = Some(match settled {
                None => own,
                Some(others) => others & own,
            });
        }
        let settled = settled.map_or(0, |settled| settled.rank(head));
        head.saturating_sub(floor).saturating_sub(settled)
    }

    /// How many bodies up to `head` are not settled.
    pub(crate) fn lag(&self, head: Seq) -> u64 {
        head.saturating_sub(self.floor)
            .saturating_sub(self.above.len())
    }

    /// The settled bodies of a chunk that are above the floor, each relative to the chunk.
    pub(super) fn chunk(&self, chunk: Chunk) -> RoaringBitmap {
        let first = chunk * CHUNK;
        let mut settled = self.above.iter();
        settled.advance_to(first);
        let offsets = settled.take_while(|seq| seq / CHUNK == chunk);
        offsets.map(|seq| (seq - first) as u32).collect()
    }

    pub(super) fn partly(&self, seq: Seq) -> Option<&Partly> {
        self.partly.get(&seq)
    }

    /// Adds what was saved of a chunk.
    pub(super) fn load_chunk(&mut self, chunk: Chunk, settled: &RoaringBitmap) {
        let first = chunk.saturating_mul(CHUNK);
        for offset in settled {
            self.load_body(first.saturating_add(offset.into()));
        }
    }

    /// Adds a saved body.
    pub(super) fn load_body(&mut self, seq: Seq) {
        if seq > self.floor {
            self.above.insert(seq);
        }
    }

    /// Adds what was saved of a partly settled body.
    pub(super) fn load_partly(&mut self, seq: Seq, body: Partly) {
        if !self.is_body_settled(seq) {
            self.partly.insert(seq, body);
        }
    }
}

/// A set of events, as compressed bitmaps: one for each chunk of bodies that has any.
#[derive(Debug, Clone, Default)]
pub(crate) struct Positions {
    chunks: BTreeMap<Chunk, RoaringBitmap>,
    len: u64,
    /// The chunks that have changed since the last save.
    pub(super) changed: BTreeSet<Chunk>,
}

impl Positions {
    /// Adds an event. Returns whether it was not in the set.
    pub(super) fn insert(&mut self, position: Position) -> bool {
        let (chunk, bit) = place(position);
        let new = self.chunks.entry(chunk).or_default().insert(bit);
        self.len += u64::from(new);
        self.changed.insert(chunk);
        new
    }

    /// Removes an event. Returns whether it was in the set.
    pub(super) fn remove(&mut self, position: Position) -> bool {
        let (chunk, bit) = place(position);
        let Some(bits) = self.chunks.get_mut(&chunk) else {
            return false;
        };
        if !bits.remove(bit) {
            return false;
        }
        if bits.is_empty() {
            self.chunks.remove(&chunk);
        }
        self.len -= 1;
        self.changed.insert(chunk);
        true
    }

    /// Removes all events.
    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.changed
            .extend(std::mem::take(&mut self.chunks).into_keys());
    }

    pub(crate) fn contains(&self, position: Position) -> bool {
        let (chunk, bit) = place(position);
        self.chunks
            .get(&chunk)
            .is_some_and(|bits| bits.contains(bit))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of events in the set.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// All events; those of a chunk by part, then by body.
    pub(super) fn iter(&self) -> impl Iterator<Item = Position> {
        self.chunks
            .iter()
            .flat_map(|(chunk, bits)| bits.iter().map(|bit| position(*chunk, bit)))
    }

    /// All events of a body.
    pub(super) fn of_body(&self, seq: Seq) -> impl Iterator<Item = Position> {
        let (chunk, first) = place(Position::first(seq));
        let bits = self.chunks.get(&chunk);
        let last_part = bits
            .and_then(RoaringBitmap::max)
            .map(|max| max >> CHUNK_BITS);
        let parts = last_part.into_iter().flat_map(|last| 0..=last);
        let own = parts.map(move |part| part << CHUNK_BITS | first);
        own.filter(move |bit| bits.is_some_and(|bits| bits.contains(*bit)))
            .map(move |bit| position(chunk, bit))
    }

    /// The events of a chunk, as they are saved.
    pub(super) fn chunk(&self, chunk: Chunk) -> Option<&RoaringBitmap> {
        self.chunks.get(&chunk)
    }

    /// Adds what was saved of a chunk.
    pub(super) fn load(&mut self, chunk: Chunk, bits: RoaringBitmap) {
        self.len += bits.len();
        self.chunks.insert(chunk, bits);
    }
}

/// A number for each event, close together for events that are close, so that bitmaps of them are small.
pub(super) fn dense(position: Position) -> u64 {
    let (chunk, bit) = place(position);
    chunk << (CHUNK_BITS + Part::BITS) | u64::from(bit)
}

/// The chunk of an event, and its place there: the body's, and above it the part's.
fn place(position: Position) -> (Chunk, u32) {
    let offset = (position.seq() % CHUNK) as u32;
    let part = u32::from(position.part() - 1) << CHUNK_BITS;
    (position.seq() / CHUNK, part | offset)
}

fn position(chunk: Chunk, bit: u32) -> Position {
    let seq = chunk * CHUNK + u64::from(bit) % CHUNK;
    let part = (bit >> CHUNK_BITS) as Part;
    Position::new(seq, part.saturating_add(1))
}

impl FromIterator<Position> for Positions {
    fn from_iter<I: IntoIterator<Item = Position>>(positions: I) -> Self {
        let mut set = Self::default();
        positions.into_iter().for_each(|one| _ = set.insert(one));
        set
    }
}

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

    /// An event counts once, whichever shares have passed by it.
    #[test]
    fn the_lag_of_all_counts_each_body_once() {
        let of = |floor, settled: &[Seq]| {
            let mut progress = Progress::starting_after(floor);
            settled.iter().for_each(|seq| progress.settle_body(*seq));
            progress
        };
        let (a, b) = (of(2, &[4, 6]), of(5, &[7]));
        assert_eq!(Progress::lag_of_all(&[], 9), 0);
        assert_eq!(Progress::lag_of_all(&[&a], 8), a.lag(8));
        // 3, 5, 7 and 8 of the first; 6 and 8 of the second.
        assert_eq!(Progress::lag_of_all(&[&a, &b], 8), 5);
        assert_eq!(Progress::lag_of_all(&[&a, &b], 2), 0);
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
                for seq in [0, 3, 39, 65_533, floor] {
                    let next = (seq + 1..).find(|seq| !model.contains(seq)).unwrap();
                    prop_assert_eq!(progress.next_unsettled(seq), next);
                }
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
            let again = model.into_iter().collect::<Positions>();
            prop_assert_eq!(again.chunks, set.chunks);
        }
    }
}
