//! JSON pointers ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)): what is where they lead, in one walk for several
//! of them.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::dialect::object::{self, Text};

/// What several pointers lead to from one JSON text. A walk over its fields that somebody makes anyway finds it.
pub(super) struct Search<'p, 'a> {
    whole: &'a str,
    sought: Vec<Sought<'p, 'a>>,
}

/// A pointer into an object.
struct Sought<'p, 'a> {
    pointer: &'p str,
    /// The field that it begins with, and the pointer from there.
    field: Cow<'p, str>,
    rest: &'p str,
    found: Option<&'a str>,
}

impl<'p, 'a> Search<'p, 'a> {
    /// Begins at the JSON text `whole`.
    pub(super) fn new(whole: &'a str, pointers: impl Iterator<Item = &'p str>) -> Self {
        let sought = pointers.filter_map(|pointer| {
            let (field, rest) = first_of(pointer)?;
            Some(Sought {
                pointer,
                field,
                rest,
                found: None,
            })
        });
        let sought = if whole.trim_start().starts_with('{') {
            sought.collect()
        } else {
            Vec::new()
        };
        Self { whole, sought }
    }

    /// Notes a field of the whole text, if it is an object. Of a repeated name the last value counts.
    pub(super) fn see(&mut self, name: &Text<'_>, value: &'a str) {
        for one in &mut self.sought {
            if one.field.as_bytes() == name.bytes() {
                one.found = Some(value);
            }
        }
    }

    /// The JSON text at `pointer`, which is one of those that are sought.
    pub(super) fn at(&self, pointer: &str) -> Option<&'a str> {
        match self.sought.iter().find(|one| one.pointer == pointer) {
            Some(one) => value(one.found?, one.rest),
            // It is no object, or the pointer leads to all of it.
            None => value(self.whole, pointer),
        }
    }

    /// The text at `pointer`, if it is one.
    pub(super) fn text_at(&self, pointer: &str) -> Option<String> {
        object::string(self.at(pointer)?).map(Cow::into_owned)
    }
}

/// The first step of a pointer, and the pointer from there. `None` if it has none.
fn first_of(pointer: &str) -> Option<(Cow<'_, str>, &str)> {
    let steps = pointer.strip_prefix('/')?;
    let (first, rest) = steps.split_at(steps.find('/').unwrap_or(steps.len()));
    let first = if first.contains('~') {
        Cow::Owned(first.replace("~1", "/").replace("~0", "~"))
    } else {
        Cow::Borrowed(first)
    };
    Some((first, rest))
}

/// An id at `pointer`: the bytes of a string with its escapes undone, or the text of a number behind a byte that tells
/// it from a string. In text that is not JSON a pointer finds nothing.
pub(in crate::dialect) fn scalar_at(body: &str, pointer: &str) -> Option<Vec<u8>> {
    let is_read = !pointer.is_empty() && body.trim_start().starts_with('{');
    if !is_read {
        // The fields of an object are read to their end, and so that is JSON.
        serde_json::from_str::<IgnoredAny>(body).ok()?;
    }
    let json = value(body, pointer)?;
    match json.as_bytes().first()? {
        b'"' => object::text(json).map(|text| text.bytes().to_vec()),
        // No text has this byte, so the number 1 is not the text "1".
        b'-' | b'0'..=b'9' => Some([&b"\xff"[..], json.as_bytes()].concat()),
        _ => None,
    }
}

/// The JSON text at `pointer`.
pub(super) fn value<'a>(json: &'a str, mut pointer: &str) -> Option<&'a str> {
    let mut json = json.trim();
    while !pointer.is_empty() {
        let (first, rest) = first_of(pointer)?;
        json = step(json, &first)?;
        pointer = rest;
    }
    Some(json)
}

/// The value at a key of an object, or at an index of an array.
fn step<'a>(json: &'a str, token: &str) -> Option<&'a str> {
    if json.starts_with('[') {
        let index = token.parse().ok()?;
        let mut deserializer = serde_json::Deserializer::from_str(json);
        return deserializer.deserialize_seq(Item(index)).ok()?;
    }
    let mut found = None;
    object::for_each_field(json, |key, value| {
        if key.decoded() == token {
            found = Some(value);
        }
    })
    .ok()?;
    found
}

/// Selects one item of an array without storing the others.
struct Item(usize);

impl<'de> Visitor<'de> for Item {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let mut index = 0;
        while let Some(item) = items.next_element::<&RawValue>()? {
            if index == self.0 {
                found = Some(item.get());
            }
            index += 1;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn lookup(body: &str, pointer: &str) -> Option<String> {
        let mut search = Search::new(body, std::iter::once(pointer));
        let _ = object::for_each_field(body, |name, value| search.see(&name, value));
        let found = search.text_at(pointer);
        let scalar = scalar_at(body, pointer);
        if let Some(found) = &found {
            assert_eq!(scalar.as_deref(), Some(found.as_bytes()), "{pointer}");
        }
        found
    }

    #[test]
    fn pointers() {
        let body = r#"{"a":{"b/c":[{"d~":"deep"}],"n":3},"":"empty key","a2":"1","a2":"x"}"#;
        let table = [
            ("/a/b~1c/0/d~0", Some("deep")),
            ("/", Some("empty key")),
            ("/a2", Some("x")),
            ("/a/n", None),
            ("/a/b~1c/1", None),
            ("/a/b~1c/x", None),
            ("/nothing/there", None),
            ("/a2/x", None),
            ("a2", None),
            ("", None),
        ];
        for (pointer, text) in table {
            assert_eq!(lookup(body, pointer).as_deref(), text, "{pointer}");
        }
        assert_eq!(lookup(r#" "whole" "#, "").as_deref(), Some("whole"));
        assert_eq!(lookup(r#"["a","b"]"#, "/1").as_deref(), Some("b"));
        assert_eq!(scalar_at(body, "/a/n"), Some(b"\xff3".to_vec()));
    }

    #[test]
    fn nothing_is_found_in_what_is_no_json() {
        for body in [
            r#"{"a":"x""#,
            r#"{"a":"x"} y"#,
            r#"["x" y]"#,
            r#""x" y"#,
            "",
        ] {
            for pointer in ["/a", "/0", ""] {
                assert_eq!(scalar_at(body, pointer), None, "{body} {pointer}");
            }
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), "[a~]{0,2}".prop_map(Value::from)];
        leaf.prop_recursive(3, 16, 3, |inner| {
            let object = btree_map("[a0/~]{0,2}", inner.clone(), 0..4);
            prop_oneof![
                vec(inner, 0..3).prop_map(Value::from),
                object.prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Against serde_json's own pointers.
        #[test]
        fn a_pointer_leads_where_others_say(
            value in json(),
            pointers in vec("(/(a|0|~0|~1|a~1)?){0,3}", 1..4),
        ) {
            let text = value.to_string();
            let mut search = Search::new(&text, pointers.iter().map(String::as_str));
            let _ = object::for_each_field(&text, |name, value| search.see(&name, value));
            for pointer in &pointers {
                let found = search.text_at(pointer);
                let expected = value.pointer(pointer).and_then(Value::as_str);
                prop_assert_eq!(found.as_deref(), expected, "{} {}", text, pointer);
            }
        }
    }
}
