//! Writes a JSON text again as JavaScript and Python write it.

use std::io::{Result, Write};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use Style::{JavaScript, Python, PythonCompact, PythonUnicode};

/// The text in each style, first with its keys in their order, then with sorted keys. Each comes with
/// its words in the sentence "the JSON is written …". There are none if the text is not JSON.
pub(super) fn rewritten(text: &[u8]) -> impl Iterator<Item = (String, String)> {
    let json = serde_json::from_slice::<Json>(text);
    let sorted = serde_json::from_slice(text).map(Json::Other);
    let orders = [(json, ""), (sorted, ", its keys sorted")];
    orders.into_iter().flat_map(|(json, keys)| {
        let styles = [JavaScript, Python, PythonUnicode, PythonCompact].into_iter();
        styles.filter_map(move |style| {
            let mut text = Vec::new();
            let mut serializer = Serializer::with_formatter(&mut text, style);
            json.as_ref().ok()?.serialize(&mut serializer).ok()?;
            let how = format!("{}{keys}", style.in_words());
            Some((how, String::from_utf8(text).ok()?))
        })
    })
}

/// A JSON text that keeps the order of its keys. A [`Value`] sorts them.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Json {
    Object(IndexMap<String, Json>),
    List(Vec<Json>),
    Other(Value),
}

/// How a program writes JSON. Only JavaScript writes 1.0 as 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    JavaScript,
    Python,
    PythonUnicode,
    PythonCompact,
}

impl Style {
    const fn in_words(self) -> &'static str {
        match self {
            JavaScript => "compactly (JSON.stringify)",
            Python => "with spaces after , and : (Python's json.dumps)",
            PythonUnicode => "with spaces after , and :",
            PythonCompact => r#"compactly in ASCII (Python's separators=(",", ":"))"#,
        }
    }

    const fn is_spaced(self) -> bool {
        matches!(self, Python | PythonUnicode)
    }
}

impl Formatter for Style {
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> Result<()> {
        let comma = if self.is_spaced() { ", " } else { "," };
        out.write_all(if first { b"" } else { comma.as_bytes() })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> Result<()> {
        self.begin_array_value(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> Result<()> {
        let colon = if self.is_spaced() { ": " } else { ":" };
        out.write_all(colon.as_bytes())
    }

    fn write_f64<W: ?Sized + Write>(&mut self, out: &mut W, x: f64) -> Result<()> {
        if *self == JavaScript && x.fract() == 0.0 && x.abs() < 1e21 {
            return write!(out, "{x:.0}");
        }
        CompactFormatter.write_f64(out, x)
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, text: &str) -> Result<()> {
        if !matches!(self, Python | PythonCompact) {
            return out.write_all(text.as_bytes());
        }
        for unit in text.encode_utf16() {
            match u8::try_from(unit) {
                Ok(byte) if byte.is_ascii() => out.write_all(&[byte])?,
                _ => write!(out, "\\u{unit:04x}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_style_writes_as_its_program_does() {
        let text = r#"{ "b" : [1, 2.0, -3, {}] , "a":"é👍/<\u0001\n", "c": null }"#;
        let table = [
            r#"{"b":[1,2,-3,{}],"a":"é👍/<\u0001\n","c":null}"#,
            r#"{"b": [1, 2.0, -3, {}], "a": "\u00e9\ud83d\udc4d/<\u0001\n", "c": null}"#,
            r#"{"b": [1, 2.0, -3, {}], "a": "é👍/<\u0001\n", "c": null}"#,
            r#"{"b":[1,2.0,-3,{}],"a":"\u00e9\ud83d\udc4d/<\u0001\n","c":null}"#,
            r#"{"a":"é👍/<\u0001\n","b":[1,2,-3,{}],"c":null}"#,
            r#"{"a": "\u00e9\ud83d\udc4d/<\u0001\n", "b": [1, 2.0, -3, {}], "c": null}"#,
        ];
        for ((name, text), expected) in rewritten(text.as_bytes()).zip(table) {
            assert_eq!(text, expected, "{name}");
        }
        let all: Vec<_> = rewritten(text.as_bytes()).collect();
        assert_eq!(all.len(), 8);
        let sorted = "compactly (JSON.stringify), its keys sorted";
        assert_eq!(all[4].0, sorted);
        assert_eq!(rewritten(b"no JSON").count(), 0);
    }

    #[test]
    fn large_whole_numbers_keep_their_digits() {
        let written = |text: &str| rewritten(text.as_bytes()).next().map(|(_, text)| text);
        assert_eq!(written("1e20"), Some("100000000000000000000".into()));
        assert_eq!(written("-2.0"), Some("-2".into()));
        assert_eq!(written("1e21"), Some("1e+21".into()));
    }
}
