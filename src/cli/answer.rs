//! [`Answer`]: what a running server says.

use offhook::escape_controls;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::output::{self, Failure};

/// A JSON text.
pub(super) struct Answer(String);

impl Answer {
    /// `None` where it is no JSON.
    pub(super) fn new(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        serde_json::from_str::<IgnoredAny>(text).ok()?;
        Some(Self(text.trim_end().to_owned()))
    }

    /// Prints the same JSON; what a terminal might obey is written as `\u….`.
    pub(super) fn print_json(&self) -> Result<(), Failure> {
        output::print(&visible(&self.0))
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

/// In JSON such characters stand in strings only, where an escape means the same.
fn visible(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        let odd = !matches!(character, ' '..='~' | '\n' | '\t' | '\r')
            && escape_controls(character.encode_utf8(&mut [0; 4])) != character.to_string();
        match odd {
            true => text += &format!("\\u{:04x}", u32::from(character)),
            false => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_stays_the_same_and_shows_everything() {
        let json = "{\"a\": \"é\u{9b}\u{7f}\u{202e}\\n\"}";
        let shown = visible(json);
        assert_eq!(shown, r#"{"a": "é\u009b\u007f\u202e\n"}"#);
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(json), read(&shown));
    }
}
