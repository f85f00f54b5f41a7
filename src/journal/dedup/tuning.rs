//! [`DedupTuning`]: how large the parts of a window are.

/// How large the parts of a window are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DedupTuning {
    /// How many entries a segment has. In memory there are an eighth more, so that an event that comes
    /// again soon is found there.
    pub(crate) segment_length: usize,
    /// For how many full segments a filter is.
    pub(crate) segments_per_filter: usize,
}

impl Default for DedupTuning {
    fn default() -> Self {
        Self {
            // With an eighth and a batch not quite 2¹⁹ entries, beyond which the table's 22 MB double.
            segment_length: 460_000,
            segments_per_filter: 8,
        }
    }
}

impl DedupTuning {
    /// With so many entries in memory the oldest are sealed.
    pub(super) fn seal_at(self) -> usize {
        self.segment_length + self.eighth()
    }

    /// After a failure it is tried again when there are so many entries more.
    pub(super) fn eighth(self) -> usize {
        self.segment_length.div_ceil(8)
    }
}
