//! Reads a JSON object one level deep: its fields by name, their values as JSON text.
//!
//! A value is parsed only when it is needed, so a deep or large value, or a number beyond 64 bits, does
//! not hide the other fields. An unreadable value is `None`, never an error.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::UnknownReason;

/// Calls `field` for each field of the object in `text`, in order, and each time for repeated keys.
///
/// # Errors
///
/// When the text is not JSON, or not an object; some fields may have been reported by then.
pub(super) fn for_each_field<'a>(
    text: &'a str,
    field: impl FnMut(Text<'a>, &'a str),
) -> Result<(), UnknownReason> {
    let not_json = |error: serde_json::Error| UnknownReason::NotJson(error.to_string());
    if !text.trim_start().starts_with('{') {
        serde_json::from_str::<IgnoredAny>(text).map_err(not_json)?;
        return Err(UnknownReason::NotAnObject);
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer
        .deserialize_map(Fields(field))
        .and_then(|()| deserializer.end())
        .map_err(not_json)
}

/// Calls `item` for each element of the array in `json`, in order; not at all if it is something else.
pub(super) fn for_each_item<'a>(json: &'a str, item: impl FnMut(&'a str)) {
    if json.starts_with('[') {
        // It is JSON, so this does not fail.
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let _ = deserializer.deserialize_seq(Items(item));
    }
}

struct Items<F>(F);

impl<'de, F: FnMut(&'de str)> Visitor<'de> for Items<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<&RawValue>()? {
            (self.0)(item.get());
        }
        Ok(())
    }
}

struct Fields<F>(F);

impl<'de, F: FnMut(Text<'de>, &'de str)> Visitor<'de> for Fields<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, value)) = map.next_entry::<Text<'de>, &RawValue>()? {
            (self.0)(key, value.get());
        }
        Ok(())
    }
}

/// The text of a JSON string; `None` if `json` is anything else.
///
/// A lone surrogate (`"\ud83d"` without its partner) becomes U+FFFD.
pub(super) fn string(json: &str) -> Option<Cow<'_, str>> {
    text(json).map(Text::decoded)
}

/// A JSON string with its escapes undone; `None` if `json` is anything else.
pub(super) fn text(json: &str) -> Option<Text<'_>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Text::Plain(inner));
    }
    serde_json::from_str(json).ok()
}

/// A JSON string.
#[derive(Deserialize)]
#[serde(from = "StringBytes<'a>", bound(deserialize = "'de: 'a"))]
pub(super) enum Text<'a> {
    /// One without escapes.
    Plain(&'a str),
    Bytes(Cow<'a, [u8]>),
}

/// A JSON string as bytes, because only then does serde_json accept lone surrogates.
#[derive(Deserialize)]
struct StringBytes<'a>(#[serde(borrow)] Cow<'a, [u8]>);

impl<'a> From<StringBytes<'a>> for Text<'a> {
    fn from(StringBytes(bytes): StringBytes<'a>) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> Text<'a> {
    /// The bytes, to compare them: a known name needs no decoding.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Plain(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    pub(super) fn decoded(self) -> Cow<'a, str> {
        let bytes = match self {
            Self::Plain(text) => return Cow::Borrowed(text),
            Self::Bytes(bytes) => bytes,
        };
        if let Cow::Borrowed(bytes) = bytes
            && let Ok(text) = str::from_utf8(bytes)
        {
            return Cow::Borrowed(text);
        }
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            // A lone surrogate is three bytes, of which only the first has this value.
            if chunk.invalid().first() == Some(&0xed) {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        Cow::Owned(text)
    }
}

/// A time: RFC 3339, or a number (also as a string) of seconds, milliseconds or microseconds since 1970,
/// distinguished by magnitude.
pub(super) fn timestamp(json: &str) -> Option<Timestamp> {
    match string(json) {
        Some(text) => rfc3339(&text).or_else(|| unix(&text)),
        None => unix(json),
    }
}

/// [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339#section-5.6), with its offset: a local time does
/// not identify an instant.
fn rfc3339(text: &str) -> Option<Timestamp> {
    let digits = text.as_bytes();
    let shaped = digits.len() >= 20 && digits[4] == b'-' && digits[7] == b'-';
    shaped.then(|| text.parse().ok()).flatten()
}

fn unix(text: &str) -> Option<Timestamp> {
    // Only numbers as JSON defines them: not "inf", "nan" or "+1".
    if !text.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
        return None;
    }
    if let Ok(whole) = text.parse::<i64>() {
        return match whole.unsigned_abs() {
            0..SECONDS_END => Timestamp::from_second(whole).ok(),
            SECONDS_END..MILLIS_END => Timestamp::from_millisecond(whole).ok(),
            MILLIS_END..MICROS_END => Timestamp::from_microsecond(whole).ok(),
            MICROS_END.. => None,
        };
    }
    let number: f64 = text.parse().ok()?;
    let micros = match number.abs() {
        magnitude if magnitude < SECONDS_END as f64 => number * 1e6,
        magnitude if magnitude < MILLIS_END as f64 => number * 1e3,
        magnitude if magnitude < MICROS_END as f64 => number,
        _ => return None,
    };
    // In range: the magnitudes above are far below 2^63.
    Timestamp::from_microsecond(micros.round() as i64).ok()
}

// Seconds reach the year 5138, milliseconds begin in 1973, microseconds likewise.
const SECONDS_END: u64 = 100_000_000_000;
const MILLIS_END: u64 = SECONDS_END * 1000;
const MICROS_END: u64 = MILLIS_END * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Result<Vec<(String, String)>, UnknownReason> {
        let mut fields = Vec::new();
        for_each_field(text, |key, value| {
            fields.push((key.decoded().into_owned(), value.to_owned()));
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

    #[test]
    fn times_that_can_be_read() {
        let table = [
            (r#""2025-01-08T12:00:00.000Z""#, "2025-01-08T12:00:00Z"),
            (r#""2025-01-08T12:00:00Z""#, "2025-01-08T12:00:00Z"),
            (r#""2025-01-08T15:00:00.000+03:00""#, "2025-01-08T12:00:00Z"),
            (r#""2025-01-08t12:00:00.25z""#, "2025-01-08T12:00:00.25Z"),
            ("1736337600", "2025-01-08T12:00:00Z"),
            (r#""1736337600""#, "2025-01-08T12:00:00Z"),
            ("1736337600000", "2025-01-08T12:00:00Z"),
            (r#""1736337600000""#, "2025-01-08T12:00:00Z"),
            ("1736337600000000", "2025-01-08T12:00:00Z"),
            ("1736337600.5", "2025-01-08T12:00:00.5Z"),
            ("1.7363376e9", "2025-01-08T12:00:00Z"),
            ("1736337600000.25", "2025-01-08T12:00:00.00025Z"),
            ("0", "1970-01-01T00:00:00Z"),
            ("-1", "1969-12-31T23:59:59Z"),
        ];
        for (json, expected) in table {
            let read = timestamp(json).map(|time| time.to_string());
            assert_eq!(read.as_deref(), Some(expected), "{json}");
        }
    }

    #[test]
    fn times_that_cannot() {
        let table = [
            r#""not-a-date""#,
            r#""""#,
            r#""2025-01-08""#,
            r#""2025-01-08T12:00:00""#,
            r#""2025-13-08T12:00:00Z""#,
            r#""12:00:00""#,
            r#""inf""#,
            r#""+1""#,
            "1e300",
            "99999999999999999999",
            "999999999999999999",
            "null",
            "true",
            "[1736337600]",
            "{}",
        ];
        for json in table {
            assert_eq!(timestamp(json), None, "{json}");
        }
    }
}
