//! [`DispatchTuning`]: limits on the work of a runner.

/// Limits on the work of a runner.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DispatchTuning {
    /// How many events of a consumer are known; most bodies are read only when they are due.
    pub(crate) read_ahead: usize,
    /// How many records are read at a time.
    pub(crate) read_in_a_turn: usize,
    /// This many waiting first attempts are enough, even when there are few slots.
    pub(crate) enough: usize,
    /// After this many attempts that finished immediately, other work gets its turn.
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

/// Limits so low that small tests reach all of them.
#[cfg(test)]
pub(super) const SMALL: DispatchTuning = DispatchTuning {
    read_ahead: 16,
    read_in_a_turn: 4,
    enough: 4,
    done_in_a_turn: 3,
};
