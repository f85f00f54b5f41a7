//! [`ContentHasher`]: hashes what an event says, so that two events with the same content have the same
//! hash, and two others never.
//!
//! JSON is compared by value: the order of fields and white space do not count, and numbers count by their
//! text. An object that repeats a key counts by its bytes, because readers disagree about what it means;
//! so does what is nested more than [`MAX_DEPTH`] deep. When in doubt, two hashes differ: handing an event
//! over twice is better than losing one.

use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::object::{self, Text};
use super::pieces::Pieces;

/// The hash of an event's content.
pub type ContentHash = [u8; 32];

/// Takes the content of one event, for [`Dialect::content`](super::Dialect::content).
#[derive(Debug, Default)]
pub struct ContentHasher {
    pieces: Pieces,
}

impl ContentHasher {
    /// Adds all fields of the JSON object `text` except those named in `without`. Returns `false`, and adds
    /// nothing, if it is no object or repeats a key.
    pub fn object(&mut self, text: &str, without: &[&str]) -> bool {
        let Some(mut fields) = fields(text) else {
            return false;
        };
        fields.retain(|(key, _)| !without.iter().any(|name| name.as_bytes() == key.bytes()));
        self.fields(&fields, 0);
        true
    }

    /// Adds a value as JSON text.
    pub fn json(&mut self, json: &str) {
        self.value(json, 1);
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.tagged(b'b', bytes);
    }

    pub(super) fn finish(self) -> ContentHash {
        self.pieces.finish()
    }

    fn fields(&mut self, fields: &[(Text<'_>, &str)], depth: usize) {
        self.tag(b'o', fields.len());
        for (key, value) in fields {
            self.field(key.bytes(), value, depth);
        }
    }

    fn field(&mut self, name: &[u8], value: &str, depth: usize) {
        self.tagged(b'k', name);
        self.value(value, depth + 1);
    }

    fn value(&mut self, json: &str, depth: usize) {
        let first = json.as_bytes().first();
        match first {
            Some(b'"') => match object::text(json) {
                Some(text) => self.tagged(b's', text.bytes()),
                None => self.tagged(b'r', json.as_bytes()),
            },
            Some(b'{') if depth < MAX_DEPTH => match fields(json) {
                Some(fields) => self.fields(&fields, depth),
                None => self.tagged(b'r', json.as_bytes()),
            },
            Some(b'[') if depth < MAX_DEPTH => {
                self.tag(b'a', 0);
                // It is JSON, so this does not fail; if it does, the bytes follow.
                if self.elements(json, depth).is_err() {
                    self.tagged(b'r', json.as_bytes());
                }
                self.tag(b'e', 0);
            }
            // A number, `true`, `false` or `null`; or too deep.
            _ => self.tagged(b'r', json.as_bytes()),
        }
    }

    fn elements(&mut self, json: &str, depth: usize) -> serde_json::Result<()> {
        serde_json::Deserializer::from_str(json).deserialize_seq(Elements(self, depth))
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.tag(tag, bytes.len());
        self.pieces.add(bytes);
    }

    /// What follows, and how much of it, so that different contents are different bytes. A length takes seven
    /// bits of each byte; the last byte has not the eighth.
    fn tag(&mut self, tag: u8, mut length: usize) {
        if length < 0x80 {
            return self.pieces.add(&[tag, length as u8]);
        }
        self.pieces.add(&[tag]);
        while length >= 0x80 {
            self.pieces.add(&[length as u8 | 0x80]);
            length >>= 7;
        }
        self.pieces.add(&[length as u8]);
    }
}

/// The fields of an object, sorted by their names; `None` if it repeats one, or has too many.
fn fields(json: &str) -> Option<Vec<(Text<'_>, &str)>> {
    let (mut fields, mut count) = (Vec::with_capacity(16), 0);
    object::for_each_field(json, |key, value| {
        count += 1;
        if count <= MAX_FIELDS {
            fields.push((key, value));
        }
    })
    .ok()?;
    fields.sort_unstable_by(|(one, _), (other, _)| one.bytes().cmp(other.bytes()));
    let is_repeated = |pair: &[(Text<'_>, &str)]| pair[0].0.bytes() == pair[1].0.bytes();
    let is_plain = count <= MAX_FIELDS && !fields.windows(2).any(is_repeated);
    is_plain.then_some(fields)
}

/// Hashes the elements of an array as they come.
struct Elements<'h>(&'h mut ContentHasher, usize);

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(element) = seq.next_element::<&RawValue>()? {
            self.0.value(element.get(), self.1 + 1);
        }
        Ok(())
    }
}

/// An object with more fields counts by its bytes.
const MAX_FIELDS: usize = 4096;

/// How deep objects and arrays are compared by value. Each level is read once more.
const MAX_DEPTH: usize = 6;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn hash(text: &str) -> Option<ContentHash> {
        let mut hasher = ContentHasher::default();
        hasher.object(text, &["timestamp"]).then(|| hasher.finish())
    }

    #[test]
    fn content_is_compared_by_value() {
        let same = [
            (
                r#"{"a":1,"b":[true,null]}"#,
                r#" { "b" : [ true , null ] , "a" : 1 } "#,
            ),
            (r#"{"a":"é"}"#, r#"{"a":"\u00e9"}"#),
            (r#"{"a":1}"#, r#"{"\u0061":1}"#),
            (r#"{"a":1,"timestamp":2}"#, r#"{"timestamp":"x","a":1}"#),
            (r#"{"a":1}"#, r#"{"a":1,"timestamp":2}"#),
            (r#"{"a":{"x":1,"y":2}}"#, r#"{"a":{"y":2,"x":1}}"#),
            (r#"{"a":"\ud800"}"#, r#"{"a":"\uD800"}"#),
        ];
        for (one, other) in same {
            assert_eq!(hash(one).unwrap(), hash(other).unwrap(), "{one} {other}");
        }
        let different = [
            (r#"{"a":1}"#, r#"{"a":1.0}"#),
            (r#"{"a":1}"#, r#"{"a":"1"}"#),
            (r#"{"a":null}"#, "{}"),
            (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#),
            (r#"{"a":["b","c"]}"#, r#"{"a":["bc"]}"#),
            (r#"{"a":{"timestamp":1}}"#, r#"{"a":{"timestamp":2}}"#),
            (r#"{"a":"\ud800"}"#, r#"{"a":"\ud801"}"#),
            (r#"{"a":{"x":1,"x":2}}"#, r#"{"a":{"x":2,"x":1}}"#),
            (r#"{"a":[]}"#, r#"{"a":{}}"#),
        ];
        for (one, other) in different {
            assert_ne!(hash(one).unwrap(), hash(other).unwrap(), "{one} {other}");
        }
        for without in ["[]", "x", r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, "{"] {
            assert_eq!(hash(without), None, "{without}");
        }
    }

    #[test]
    fn what_is_too_deep_counts_by_its_bytes() {
        let deep = |inner: &str| {
            let (open, close) = ("{\"a\":".repeat(MAX_DEPTH), "}".repeat(MAX_DEPTH));
            hash(&format!("{open}{inner}{close}")).unwrap()
        };
        assert_ne!(deep("[1]"), deep("[ 1]"));
        let arrays = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(hash(&arrays).is_some());
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3i64..3).prop_map(Value::from),
            "[a-b\"\\\\é\u{0}]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn object() -> impl Strategy<Value = serde_json::Map<String, Value>> {
        prop::collection::btree_map("[a-c]{1,2}|timestamp", value(), 0..5)
            .prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Against serde_json's own comparison.
        #[test]
        fn equal_values_have_equal_hashes(one in object(), other in object(), shuffled: bool) {
            let mut other = if shuffled { one.clone() } else { other };
            let write = |object: &serde_json::Map<String, Value>, reversed: bool| {
                let mut fields: Vec<String> = object
                    .iter()
                    .map(|(key, value)| format!("{} :{value}", Value::from(key.as_str())))
                    .collect();
                if reversed {
                    fields.reverse();
                }
                format!("{{{}}}", fields.join(", "))
            };
            let hashes = (hash(&write(&one, false)), hash(&write(&other, true)));
            let mut one = one;
            one.remove("timestamp");
            other.remove("timestamp");
            prop_assert_eq!(one == other, hashes.0.unwrap() == hashes.1.unwrap());
        }
    }
}
