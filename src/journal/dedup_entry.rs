//! [`DedupEntry`]: what is stored of a dedup key.

use super::position::Position;
use super::record::{DedupKey, KeyHash};

/// One event that makes later ones with the same key duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DedupEntry {
    pub(crate) hash: KeyHash,
    pub(crate) position: Position,
    /// The end of its dedup window, in milliseconds since 1970.
    pub(crate) until: i64,
}

impl DedupEntry {
    /// Makes the entries of the event at `position`, received at `at` (milliseconds since 1970): one, and
    /// one more for the state that it is a value of.
    pub(crate) fn all_of(key: DedupKey, position: Position, at: i64) -> impl Iterator<Item = Self> {
        let until = key.ends_at(at);
        let entry = move |hash| Self {
            hash,
            position,
            until,
        };
        std::iter::once(key.hash).chain(key.state).map(entry)
    }
}
