//! [`IndexTuning`]: the sizes of segments, batches and buckets.

/// The sizes of segments, batches and buckets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexTuning {
    /// A segment with so many events is sealed, and so is a batch with so many attempts.
    pub(super) full: usize,
    /// How many consecutive bodies share a bucket of attempts. Part of the format.
    pub(super) bucket: u64,
    /// How many records are read together.
    pub(super) read_in_a_turn: usize,
    /// An index that lags by more bodies than this is being rebuilt, and searches do not wait for
    /// it.
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

/// Small sizes, so that short tests reach every limit.
#[cfg(test)]
pub(super) const SMALL: IndexTuning = IndexTuning {
    full: 32,
    bucket: 8,
    read_in_a_turn: 16,
    far: 100,
};
