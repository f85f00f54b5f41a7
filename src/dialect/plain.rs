//! [`fields`]: finds the fields of an object of plain strings by its quotes alone.
//!
//! Nearly all bodies are such objects, so they are read without a parser, in a quarter of its time. This
//! is only a shortcut: for everything that is not obviously plain (an escape, a line break, a value that
//! is not a string, an error) it returns `None`, and serde_json reads the text.

use memchr::memchr;

/// An object's fields in order: the name, and the value as JSON text, with its quotes.
pub(super) struct Plain<'a> {
    fields: [(&'a str, &'a str); MOST],
    count: usize,
}

impl<'a> Plain<'a> {
    pub(super) fn fields(&self) -> &[(&'a str, &'a str)] {
        &self.fields[..self.count]
    }
}

/// The fields of the object in `text`, if it is plain.
pub(super) fn fields(text: &str) -> Option<Plain<'_>> {
    // Without these characters a quote is never part of a string, and no string is invalid. Checking the
    // whole text takes less time than stopping at the first match.
    let odd = |byte: &u8| u8::from(*byte == b'\\') | u8::from(*byte < b' ');
    if text.as_bytes().iter().fold(0, |any, byte| any | odd(byte)) != 0 {
        return None;
    }
    let mut plain = Plain {
        fields: [("", ""); MOST],
        count: 0,
    };
    let mut rest = Rest { text, at: 0 };
    rest.skip(b'{')?;
    loop {
        let key = rest.string()?;
        rest.skip(b':')?;
        let value = rest.string()?;
        *plain.fields.get_mut(plain.count)? = (&key[1..key.len() - 1], value);
        plain.count += 1;
        if rest.skip(b',').is_none() {
            break;
        }
    }
    rest.skip(b'}')?;
    rest.is_empty().then_some(plain)
}

/// The text that is not read yet.
struct Rest<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Rest<'a> {
    /// Skips this byte and the spaces before it; `None` if another byte is there.
    fn skip(&mut self, byte: u8) -> Option<()> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
        (bytes.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    /// Reads a string and returns it with its quotes.
    fn string(&mut self) -> Option<&'a str> {
        self.skip(b'"')?;
        let (start, text) = (self.at - 1, self.text);
        self.at += memchr(b'"', &text.as_bytes()[self.at..])? + 1;
        Some(&text[start..self.at])
    }

    /// Whether only spaces are left.
    fn is_empty(&self) -> bool {
        self.text[self.at..].bytes().all(|byte| byte == b' ')
    }
}

/// More fields than any event has.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::object::parsed_fields;
    use super::*;

    #[test]
    fn plain_objects_and_others() {
        let found = fields(" { \"a\" : \"1\" ,\"a\":\"é\u{7f}\",\"\":\"\"} ").unwrap();
        let expected = [("a", "\"1\""), ("a", "\"é\u{7f}\""), ("", "\"\"")];
        assert_eq!(found.fields(), expected);
        let others = [
            "",
            "{}",
            r#"{"a"}"#,
            r#"{"a":"1""#,
            r#"{"a":"1"}}"#,
            r#"{"a":"1",}"#,
            r#"{"a":"1" "b":"2"}"#,
            r#"{"a":"1":"b","2"}"#,
            r#"["a":"1"]"#,
            r#"{"a":1}"#,
            r#"{"a":"\n"}"#,
            "{\"a\":\n\"1\"}",
            "{\"a\u{1}\":\"1\"}",
        ];
        for other in others {
            assert!(fields(other).is_none(), "{other}");
        }
    }

    proptest! {
        /// The shortcut finds exactly what serde_json finds.
        #[test]
        fn what_is_plain_is_what_a_parser_finds(
            text in prop_oneof![
                "[{},:\"a \\\\\u{7f}\n]{0,24}",
                "\\{ ?\"[ab ]?\" ?: ?\"[aé]{0,3}\"( ?,? ?\"c\": ?(\"x\"|1|\\{\\}|\"\\\\n\")){0,3} ?\\}? ?",
            ],
        ) {
            if let Some(found) = fields(&text) {
                let mut parsed = Vec::new();
                let is_object = parsed_fields(&text, |key, value| parsed.push((key.into_owned(), value)));
                prop_assert_eq!(is_object, Ok(()), "{}", text);
                let found: Vec<_> = found.fields().iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
                prop_assert_eq!(found, parsed, "{}", text);
            }
        }

        /// The shortcut applies to the objects that it is meant for.
        #[test]
        fn objects_of_strings_are_plain(
            strings in proptest::collection::vec(("[^\\\\\"\u{0}-\u{1f}]{0,9}", "[^\\\\\"\u{0}-\u{1f}]{0,40}"), 1..=MOST),
        ) {
            let each = strings.iter().map(|(key, value)| format!("\"{key}\":\"{value}\""));
            let text = format!("{{{}}}", each.collect::<Vec<_>>().join(","));
            prop_assert_eq!(fields(&text).map(|found| found.count), Some(strings.len()));
        }
    }
}
