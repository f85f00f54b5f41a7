//! [`DedupTuning`]: the sizes of segments and filters.

#[derive(Debug, Clone, Copy)]
pub(crate) struct DedupTuning {
    /// How many entries a segment holds. Memory has room for an eighth more before it must grow.
    pub(crate) segment_length: usize,
    /// How many full segments share a filter.
    pub(crate) segments_per_filter: usize,
}

impl Default for DedupTuning {
    fn default() -> Self {
        Self {
            // With the eighth, entries and map take 17 MB; while a segment is written there may be
            // two of them, and the thread's copy of the entries. A few more would double the map.
            segment_length: 400_000,
            segments_per_filter: 8,
        }
    }
}

impl DedupTuning {
    /// After a failure sealing is tried again when there are so many more entries.
    pub(super) fn eighth(self) -> usize {
        self.segment_length.div_ceil(8)
    }
}
