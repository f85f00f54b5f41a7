//! [`Positions`]: a set of events, compact when they are many and close together.

use std::collections::BTreeSet;

use roaring::RoaringTreemap;

use crate::journal::{Part, Position};

/// A set of events: a compressed bitmap of bodies for their first events, and a list for all other
/// events. Nearly every body holds one event.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Positions {
    first: RoaringTreemap,
    further: BTreeSet<Position>,
}

impl Positions {
    /// Adds an event. Returns whether it was not in the set.
    pub(super) fn insert(&mut self, position: Position) -> bool {
        if position.part() == 1 {
            self.first.insert(position.seq())
        } else {
            self.further.insert(position)
        }
    }

    /// Removes an event. Returns whether it was in the set.
    pub(super) fn remove(&mut self, position: Position) -> bool {
        if position.part() == 1 {
            self.first.remove(position.seq())
        } else {
            self.further.remove(&position)
        }
    }

    pub(crate) fn contains(&self, position: Position) -> bool {
        if position.part() == 1 {
            self.first.contains(position.seq())
        } else {
            self.further.contains(&position)
        }
    }

    /// The number of events in the set.
    pub(super) fn len(&self) -> u64 {
        self.first.len() + self.further.len() as u64
    }

    /// All events, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Position> {
        let mut further = self.further.iter().copied().peekable();
        let mut first = self.first.iter().map(Position::first).peekable();
        std::iter::from_fn(move || match (first.peek(), further.peek()) {
            (Some(one), Some(other)) if other < one => further.next(),
            (Some(_), _) => first.next(),
            (None, _) => further.next(),
        })
    }

    /// The set as it is saved: the bitmap, then body and part of each other event.
    pub(super) fn to_parts(&self) -> (&RoaringTreemap, Vec<(u64, Part)>) {
        let further = self.further.iter();
        let further = further.map(|position| (position.seq(), position.part()));
        (&self.first, further.collect())
    }

    /// Restores the set from what [`Positions::to_parts`] returned.
    pub(super) fn from_parts(first: RoaringTreemap, further: &[(u64, Part)]) -> Self {
        let mut positions = Self {
            first,
            further: BTreeSet::new(),
        };
        for (seq, part) in further {
            positions.insert(Position::new(*seq, *part));
        }
        positions
    }
}

impl FromIterator<Position> for Positions {
    fn from_iter<I: IntoIterator<Item = Position>>(positions: I) -> Self {
        let mut set = Self::default();
        for position in positions {
            set.insert(position);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_is_the_set_that_it_looks_like(
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
            prop_assert!(set.iter().eq(model.iter().copied()));
            let (first, further) = set.to_parts();
            prop_assert_eq!(Positions::from_parts(first.clone(), &further), set.clone());
            prop_assert_eq!(model.into_iter().collect::<Positions>(), set);
        }
    }
}
