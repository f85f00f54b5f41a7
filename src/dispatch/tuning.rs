//! [`DispatchTuning`]: how much a runner takes on.

/// How much a runner takes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DispatchTuning {
    /// How many events of a consumer are known; the bodies of most are read when they are due.
    pub(crate) read_ahead: usize,
    /// How many records are read in one go.
    pub(crate) read_in_a_turn: usize,
    /// So many first attempts that wait are enough even for few slots.
    pub(crate) enough: usize,
    /// After so many attempts that were done immediately others have their turn.
    pub(crate) done_in_a_turn: usize,
}

impl Default for DispatchTuning {
    fn default() -> Self {
        Self {
            read_ahead: 16_384,
            read_in_a_turn: 128,
            enough: 64,
            done_in_a_turn: 128,
        }
    }
}

/// So little that small tests reach every limit.
#[cfg(test)]
pub(super) const SMALL: DispatchTuning = DispatchTuning {
    read_ahead: 16,
    read_in_a_turn: 4,
    enough: 4,
    done_in_a_turn: 3,
};
