//! Reads a JSON object one level deep: its fields by name, their values as JSON text.
//!
//! Values are not parsed, so a deep or large value, or a number beyond 64 bits, does not hide the other
//! fields.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::plain;
use crate::UnknownReason;

/// Whether the strings of an object can contain escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Escapes {
    #[default]
    Possible,
    None,
}

/// Calls `field` for each field of the object in `text`, in order, and each time for repeated keys.
///
/// # Errors
///
/// When the text is not JSON, or not an object; some fields may have been reported by then.
pub(super) fn for_each_field<'a>(
    text: &'a str,
    mut field: impl FnMut(Cow<'a, str>, &'a str),
) -> Result<Escapes, UnknownReason> {
    match plain::fields(text) {
        Some(plain) => {
            for (key, value) in plain.fields() {
                field(Cow::Borrowed(key), value);
            }
            Ok(Escapes::None)
        }
        None => parsed_fields(text, field).map(|()| Escapes::Possible),
    }
}

/// The same for any object.
pub(super) fn parsed_fields<'a>(
    text: &'a str,
    field: impl FnMut(Cow<'a, str>, &'a str),
) -> Result<(), UnknownReason> {
    if !text.trim_start().starts_with('{') {
        return Err(match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => UnknownReason::NotAnObject,
            Err(error) => UnknownReason::NotJson(error.to_string()),
        });
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer
        .deserialize_map(Fields { text, field })
        .and_then(|()| deserializer.end())
        .map_err(|error| UnknownReason::NotJson(error.to_string()))
}

/// The text of a JSON string; `None` if `json` is anything else.
///
/// A lone surrogate (`"\ud83d"` without its partner) becomes U+FFFD.
pub(super) fn string(json: &str) -> Option<Cow<'_, str>> {
    Escapes::Possible.string(json)
}

impl Escapes {
    /// As [`string`], for a value of an object with these escapes.
    pub(super) fn string(self, json: &str) -> Option<Cow<'_, str>> {
        let inner = json.strip_prefix('"')?.strip_suffix('"')?;
        if self == Self::None || !inner.contains('\\') {
            return Some(Cow::Borrowed(inner));
        }
        Text(json)
            .deserialize(&mut serde_json::Deserializer::from_str(json))
            .ok()
    }
}

struct Fields<'de, F> {
    text: &'de str,
    field: F,
}

impl<'de, F: FnMut(Cow<'de, str>, &'de str)> Visitor<'de> for Fields<'de, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Text(self.text))? {
            let value: &RawValue = map.next_value()?;
            (self.field)(key, value.get());
        }
        Ok(())
    }
}

/// Reads a JSON string within a text, as bytes, because only then does serde_json accept lone
/// surrogates.
struct Text<'de>(&'de str);

impl<'de> DeserializeSeed<'de> for Text<'de> {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for Text<'de> {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        // Borrowed bytes are part of the text itself, so they need no second UTF-8 check.
        let start = (bytes.as_ptr().addr()).wrapping_sub(self.0.as_ptr().addr());
        match self.0.get(start..start.wrapping_add(bytes.len())) {
            Some(text) => Ok(Cow::Borrowed(text)),
            None => self.visit_bytes(bytes),
        }
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(lossy_wtf8(bytes)))
    }
}

/// Decodes text with lone surrogates, each encoded as three bytes that UTF-8 does not allow.
fn lossy_wtf8(mut bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    loop {
        let (valid, rest) = match std::str::from_utf8(bytes) {
            Ok(valid) => (valid, &bytes[bytes.len()..]),
            Err(error) => {
                let (valid, rest) = bytes.split_at(error.valid_up_to());
                (std::str::from_utf8(valid).expect("valid up to here"), rest)
            }
        };
        text.push_str(valid);
        if rest.is_empty() {
            return text;
        }
        text.push(char::REPLACEMENT_CHARACTER);
        let surrogate = matches!(rest, [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..]);
        bytes = &rest[if surrogate { 3 } else { 1 }..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Result<Vec<(String, String)>, UnknownReason> {
        let mut fields = Vec::new();
        for_each_field(text, |key, value| {
            fields.push((key.into_owned(), value.to_owned()));
        })?;
        Ok(fields)
    }

    #[test]
    fn values_are_kept_to_the_letter() {
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        let text = format!(r#" {{"a" : 1e999 , "b":"\ud83d", "a":{deep}, "":{{ "x": 1 }}}} "#);
        let expected = [
            ("a", "1e999"),
            ("b", r#""\ud83d""#),
            ("a", &deep),
            ("", r#"{ "x": 1 }"#),
        ];
        let fields = fields(&text).unwrap();
        let fields: Vec<_> = fields
            .iter()
            .map(|(key, value)| (&key[..], &value[..]))
            .collect();
        assert_eq!(fields, expected);
    }

    #[test]
    fn what_is_no_object_says_why() {
        for text in [
            "",
            "{",
            "{}x",
            "{\"a\":}",
            "{'a':1}",
            "x",
            "[",
            "\"",
            "{\"a\":1,}",
        ] {
            assert!(
                matches!(fields(text), Err(UnknownReason::NotJson(_))),
                "{text}"
            );
        }
        for text in ["[]", "null", "1", "\"{}\"", " [1] "] {
            assert_eq!(fields(text), Err(UnknownReason::NotAnObject), "{text}");
        }
    }

    #[test]
    fn strings_and_lone_surrogates() {
        let table = [
            (r#""plain""#, Some("plain")),
            (r#""caf\u00e9 \"x\"""#, Some("café \"x\"")),
            (r#""\ud83d\ude00""#, Some("😀")),
            (r#""a\ud83db""#, Some("a\u{fffd}b")),
            (r#""\ude00\ud83d""#, Some("\u{fffd}\u{fffd}")),
            (r#""é\ud800""#, Some("é\u{fffd}")),
            ("3", None),
            ("null", None),
            ("[\"x\"]", None),
        ];
        for (json, text) in table {
            assert_eq!(string(json).as_deref(), text, "{json}");
        }
        assert_eq!(fields(r#"{"\ud83dk":1}"#).unwrap()[0].0, "\u{fffd}k");
    }
}
