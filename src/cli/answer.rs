//! [`Answer`]: the JSON that a running server answers.

use serde::de::{DeserializeOwned, IgnoredAny};

use super::output::{self, Failure};

/// A JSON text.
pub(super) struct Answer(String);

impl Answer {
    /// Returns `None` if the body is not JSON.
    pub(super) fn new(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        serde_json::from_str::<IgnoredAny>(text).ok()?;
        Some(Self(text.trim_end().to_owned()))
    }

    /// Prints the JSON, with characters that could control a terminal written as `\u…`.
    pub(super) fn print_json(&self) -> Result<(), Failure> {
        output::print(&output::visible(&self.0))
    }

    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.0).map_err(|error| {
            Failure::failed(format!(
                "the server's answer is not understood: {error}\nIs it of the same version as this \
                 program ({})? --json prints it as it came.",
                env!("CARGO_PKG_VERSION")
            ))
        })
    }
}
