//! [`DedupEntry`]: one event that makes later ones duplicates.

use crate::journal::{DedupKey, KeyHash, Position};

/// One event that makes later ones with the same key duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DedupEntry {
    pub(crate) hash: KeyHash,
    pub(crate) position: Position,
    /// The end of its dedup window, in milliseconds since 1970.
    pub(crate) until: i64,
}

impl DedupEntry {
    /// Makes the entry of the event at `position`, received at `at` (milliseconds since 1970).
    pub(crate) fn new(key: DedupKey, position: Position, at: i64) -> Self {
        Self {
            hash: key.hash,
            position,
            until: key.ends_at(at),
        }
    }
}
