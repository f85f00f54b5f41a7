//! [`DedupTuning`]: the sizes of segments and filters.

#[derive(Debug, Clone, Copy)]
pub(crate) struct DedupTuning {
    /// How many entries a segment holds. Memory holds an eighth more, so that an event that is soon
    /// repeated is found there.
    pub(crate) segment_length: usize,
    /// How many full segments share a filter.
    pub(crate) segments_per_filter: usize,
}

impl Default for DedupTuning {
    fn default() -> Self {
        Self {
            // Plus an eighth and a batch this is just under 2¹⁹ entries, where the table's 22 MB
            // would double.
            segment_length: 460_000,
            segments_per_filter: 8,
        }
    }
}

impl DedupTuning {
    /// Once so many entries are in memory, the oldest are sealed.
    pub(super) fn seal_at(self) -> usize {
        self.segment_length + self.eighth()
    }

    /// After a failure sealing is tried again when there are so many more entries.
    pub(super) fn eighth(self) -> usize {
        self.segment_length.div_ceil(8)
    }
}
