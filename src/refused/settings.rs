//! [`RefusedSettings`]: how many refused requests are kept, and how much of each.

use serde::Serialize;

/// `[refused]`: the refused requests that are kept in memory, so that they can be explained and verified again.
///
/// ```
/// let mut refused = offhook::settings::RefusedSettings::default();
/// refused.keep = 0;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RefusedSettings {
    /// How many are kept; 0 for none. Default: 256.
    pub keep: usize,
    /// The longest body that is kept whole, in bytes. Default: 64 KiB.
    pub body: usize,
    /// The limit for all of them together, in bytes. Default: 8 MiB.
    pub total: usize,
}

impl Default for RefusedSettings {
    fn default() -> Self {
        Self {
            keep: 256,
            body: 64 * 1024,
            total: 8 * 1024 * 1024,
        }
    }
}
