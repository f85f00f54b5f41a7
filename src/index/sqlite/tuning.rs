//! [`IndexTuning`]: how much is put together.

/// How much is put together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexTuning {
    /// A segment is sealed with so many events, a batch of attempts with so many.
    pub(super) full: usize,
    /// How many consecutive bodies share their blobs of attempts. Part of the format.
    pub(super) bucket: u64,
    /// How many records are read in one go.
    pub(super) read_in_a_turn: usize,
    /// An index that is so many bodies behind is being rebuilt, and no search waits for it.
    pub(super) far: u64,
}

impl Default for IndexTuning {
    fn default() -> Self {
        Self {
            full: 8192,
            bucket: 1024,
            read_in_a_turn: 512,
            far: 50_000,
        }
    }
}

/// So little that small tests cross every border.
#[cfg(test)]
pub(super) const SMALL: IndexTuning = IndexTuning {
    full: 32,
    bucket: 8,
    read_in_a_turn: 16,
    far: 100,
};
