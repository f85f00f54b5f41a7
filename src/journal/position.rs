//! [`Position`]: where an event is in its journal. [`Share`]: which events one instance dispatches.

use std::collections::{HashMap, HashSet};
use std::fmt;

use foldhash::fast::FixedState;
use sha2::{Digest as _, Sha256};

/// The number of a body in its journal: from 1, in the order the bodies became durable, without
/// gaps. It has at most 48 bits, enough for 89 years at 100,000 a second.
pub type Seq = u64;

/// The number of an event in its body, from 1. Nearly every body holds one event.
pub type Part = u16;

/// The number of a share, from 0. A share is a set of sessions whose events one instance dispatches at a
/// time. All events of a session are in one share, so a lane never spans two shares. A journal on one
/// machine has one share.
pub type Share = u16;

/// Where an event is in its journal: the number of its body, and its part.
/// Positions are ordered by body, then by part.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// The position of event `part` (from 1) of the body `seq`. A `seq` of more than 48 bits becomes the
    /// largest one; part 0 counts as 1.
    pub fn new(seq: Seq, part: Part) -> Self {
        Self((seq.min(MAX_SEQ) << PART_BITS) | u64::from(part.saturating_sub(1)))
    }

    /// The position of the first event of the body.
    pub fn first(seq: Seq) -> Self {
        Self::new(seq, 1)
    }

    /// The number of the body.
    pub fn seq(self) -> Seq {
        self.0 >> PART_BITS
    }

    /// The number of the event in its body, from 1.
    pub fn part(self) -> Part {
        (self.0 as Part).saturating_add(1)
    }

    /// The position as one number, in the same order. [`Position::from_bits`] converts it back.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// Converts a number from [`Position::to_bits`] back.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// `7` for the only or first event of a body, `7.2` for the second one.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part() {
            1 => write!(f, "{}", self.seq()),
            part => write!(f, "{}.{part}", self.seq()),
        }
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns the share of an event, out of `shares`: by its session, or by its source if it has no
/// session. It uses the first 8 bytes of the SHA-256, so that all versions of offhook agree.
pub fn share_of(source: &str, session: Option<&str>, shares: Share) -> Share {
    if shares <= 1 {
        return 0;
    }
    let digest = Sha256::digest(session.unwrap_or(source));
    let (first, _) = digest.split_first_chunk().expect("a SHA-256 has 32 bytes");
    let share = u64::from_be_bytes(*first) % u64::from(shares);
    Share::try_from(share).expect("less than the number of shares")
}

/// A map by position. Senders do not choose the positions of their events, so the hash needs no
/// protection against chosen keys.
pub(crate) type PositionMap<T> = HashMap<Position, T, FixedState>;

pub(crate) type PositionHashSet = HashSet<Position, FixedState>;

/// A body is divided into at most this many parts. If it has more events, the last part holds all that
/// remain.
pub const MAX_PARTS: usize = 1024;

const PART_BITS: u32 = 16;
const MAX_SEQ: Seq = u64::MAX >> PART_BITS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_ordered_by_body_then_part() {
        let ordered = [(0, 1), (1, 1), (1, 2), (1, 1024), (2, 1), (MAX_SEQ, 65_535)];
        let positions = ordered.map(|(seq, part)| Position::new(seq, part));
        assert!(positions.is_sorted_by(|one, next| one < next));
        for (position, (seq, part)) in positions.into_iter().zip(ordered) {
            assert_eq!((position.seq(), position.part()), (seq, part));
            assert_eq!(Position::from_bits(position.to_bits()), position);
        }
        assert_eq!(Position::first(7).to_string(), "7");
        assert_eq!(Position::new(7, 2).to_string(), "7.2");
    }

    /// Other versions and other instances must find the same share.
    #[test]
    fn a_share_is_fixed_by_the_session() {
        assert_eq!(share_of("source", Some("408f7372"), 1), 0);
        let shares = |source| ["408f7372", "a", "b", ""].map(|id| share_of(source, Some(id), 16));
        assert_eq!(shares("one"), shares("other"));
        assert_eq!(shares("one"), [10, 10, 10, 4]);
        assert_eq!(share_of("a", None, 16), share_of("b", Some("a"), 16));
    }
}
