//! Writes a JSON text again as other programs write it.

use std::io::{self, Write};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use Language::{Go, JavaScript, Php, Python, PythonUnicode};
use Layout::{Compact, Indented, Spaced};

/// The text as each program writes it, first with its keys in their order, then with sorted keys. Each
/// comes with its words in the sentence "the JSON is written …". There are none if the text is not JSON.
pub(super) fn rewritten(text: &[u8]) -> impl Iterator<Item = (String, String)> {
    let json = serde_json::from_slice::<Json>(text).ok();
    let orders = [(false, ""), (true, ", its keys sorted")].into_iter();
    let styles = orders.flat_map(|order| STYLES.iter().map(move |style| (order, style)));
    styles.filter_map(move |((sorted, keys), (name, layout, language))| {
        let mut json = json.clone()?;
        json.adapt(sorted, *language);
        let text = escape(&json.write(*layout)?, *language);
        Some((format!("{name}{keys}"), text))
    })
}

/// A JSON text that keeps the order of its keys, unlike `serde_json::Value`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(untagged)]
enum Json {
    Object(IndexMap<String, Json>),
    List(Vec<Json>),
    Number(Number),
    Other(Value),
    #[serde(skip_deserializing)]
    WholeNumber(Box<RawValue>),
}

#[derive(Debug, Clone, Copy)]
enum Layout {
    Compact,
    /// With spaces after `,` and `:`.
    Spaced,
    Indented(&'static [u8]),
}

/// What decides which characters are escaped, and how numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    JavaScript,
    Python,
    /// With `ensure_ascii=False`.
    PythonUnicode,
    Php,
    Go,
}

impl Json {
    /// Sorts the keys if `sorted`. Where the language writes 1.0 as 1, shortens such numbers.
    fn adapt(&mut self, sorted: bool, language: Language) {
        match self {
            Self::Object(fields) => {
                if sorted {
                    fields.sort_keys();
                }
                fields
                    .values_mut()
                    .for_each(|value| value.adapt(sorted, language));
            }
            Self::List(items) => items
                .iter_mut()
                .for_each(|item| item.adapt(sorted, language)),
            Self::Number(number) if number.is_f64() => {
                let short = !matches!(language, Python | PythonUnicode);
                let whole = number
                    .as_f64()
                    .filter(|x| short && x.fract() == 0.0 && x.abs() < 1e21);
                let digits = whole.and_then(|x| RawValue::from_string(format!("{x:.0}")).ok());
                if let Some(digits) = digits {
                    *self = Self::WholeNumber(digits);
                }
            }
            _ => (),
        }
    }

    fn write(&self, layout: Layout) -> Option<String> {
        let mut text = Vec::new();
        let written = match layout {
            Compact => self.serialize(&mut Serializer::new(&mut text)),
            Spaced => self.serialize(&mut Serializer::with_formatter(&mut text, Spaces)),
            Indented(indent) => {
                let pretty = PrettyFormatter::with_indent(indent);
                self.serialize(&mut Serializer::with_formatter(&mut text, pretty))
            }
        };
        written.ok()?;
        String::from_utf8(text).ok()
    }
}

/// Puts spaces after `,` and `:`.
struct Spaces;

impl Formatter for Spaces {
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.begin_array_value(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

/// Escapes what the language escapes besides what JSON demands. In a JSON text, these characters stand
/// only in strings.
fn escape(json: &str, language: Language) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match (language, character) {
            (Php, '/') => text.push_str("\\/"),
            (Python | Php, '\u{80}'..) | (Go, '<' | '>' | '&') => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
            _ => text.push(character),
        }
    }
    text
}

const STYLES: [(&str, Layout, Language); 10] = [
    ("compactly (JSON.stringify)", Compact, JavaScript),
    (
        "with spaces after , and : (Python's json.dumps)",
        Spaced,
        Python,
    ),
    ("with spaces after , and :", Spaced, PythonUnicode),
    (
        r#"compactly in ASCII (Python's separators=(",", ":"))"#,
        Compact,
        Python,
    ),
    ("as PHP's json_encode does", Compact, Php),
    ("as Go's json.Marshal does", Compact, Go),
    ("with an indentation of 2", Indented(b"  "), JavaScript),
    ("with an indentation of 4", Indented(b"    "), JavaScript),
    ("with an indentation of 2 in ASCII", Indented(b"  "), Python),
    (
        "with an indentation of 4 in ASCII",
        Indented(b"    "),
        Python,
    ),
];

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
            r#"{"b":[1,2,-3,{}],"a":"\u00e9\ud83d\udc4d\/<\u0001\n","c":null}"#,
            r#"{"b":[1,2,-3,{}],"a":"é👍/\u003c\u0001\n","c":null}"#,
        ];
        for ((name, text), expected) in rewritten(text.as_bytes()).zip(table) {
            assert_eq!(text, expected, "{name}");
        }
        let indented = "{\n  \"a\": \"x\",\n  \"b\": [\n    1\n  ],\n  \"c\": []\n}";
        let all: Vec<_> = rewritten(br#"{"b":[1],"a":"x","c":[]}"#).collect();
        assert_eq!(all.len(), 20);
        for (name, text) in [&all[16], &all[18]] {
            assert_eq!(text, indented, "{name}");
        }
        assert_eq!(all[16].0, "with an indentation of 2, its keys sorted");
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
