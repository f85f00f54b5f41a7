//! [`View`]: a text with its escapes undone, which knows where in the text each byte came from.
//!
//! What a subscriber answers may repeat a request in any notation: as JSON, as HTML, percent-encoded, or one
//! within the other. So two texts are compared without any of them.

use std::ops::Range;

/// A text, or what remains of it without escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) bytes: Vec<u8>,
    /// Where each of the bytes came from.
    spans: Vec<Range<usize>>,
    /// The length of the text.
    length: usize,
}

impl View {
    /// The text as it is.
    pub(super) fn of(text: &[u8]) -> Self {
        Self {
            bytes: text.to_vec(),
            spans: (0..text.len()).map(|at| at..at + 1).collect(),
            length: text.len(),
        }
    }

    /// The text, and what it is with escapes undone once, twice and so on, until none is left.
    pub(super) fn layers(self) -> Vec<Self> {
        let mut layers = vec![self];
        while let Some(last) = layers.last().filter(|_| layers.len() <= MOST_LAYERS) {
            let next = last.undo();
            if next.bytes == last.bytes {
                break;
            }
            layers.push(next);
        }
        layers
    }

    /// The text without any escapes, also those within others.
    pub(super) fn unescaped(self) -> Self {
        let last = self.layers().pop();
        last.expect("the text itself is the first layer")
    }

    /// The same without an escape that is cut at the end.
    pub(super) fn without_cut_escape(mut self) -> Self {
        let last = self.bytes.len().saturating_sub(LONGEST_ESCAPE);
        let begin = (last..self.bytes.len()).find(|at| is_cut(&self.bytes[*at..]));
        self.bytes.truncate(begin.unwrap_or(self.bytes.len()));
        self
    }

    /// The part of the text that these bytes came from; up to the end of the text for the last of them.
    pub(super) fn source(&self, bytes: Range<usize>) -> Range<usize> {
        let end = match bytes.end == self.bytes.len() {
            true => self.length,
            false => self.spans[bytes.end - 1].end,
        };
        self.spans[bytes.start].start..end
    }

    fn undo(&self) -> Self {
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        let mut at = 0;
        while at < self.bytes.len() {
            let rest = &self.bytes[at..];
            let (taken, length) = escape(rest).unwrap_or_else(|| (vec![rest[0]], 1));
            let span = self.spans[at].start..self.spans[at + length - 1].end;
            spans.extend(taken.iter().map(|_| span.clone()));
            bytes.extend(taken);
            at += length;
        }
        Self {
            bytes,
            spans,
            length: self.length,
        }
    }
}

/// What the escape at the beginning of `rest` stands for, and its length.
fn escape(rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    match rest.first()? {
        b'%' => Some((vec![u8::try_from(hex(rest.get(1..3)?)?).ok()?], 3)),
        b'&' => entity(rest),
        b'\\' if rest.get(1) == Some(&b'u') => unicode(rest),
        b'\\' => {
            let plain = match rest.get(1)? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'b' => 8,
                b'f' => 12,
                other if other.is_ascii_punctuation() => *other,
                _ => return None,
            };
            Some((vec![plain], 2))
        }
        _ => None,
    }
}

/// `\u0026`, or two of them for one character.
fn unicode(rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    let unit = |text: &[u8]| u16::try_from(hex(text.strip_prefix(b"\\u")?.get(..4)?)?).ok();
    let first = unit(rest)?;
    let both = [first, rest.get(6..).and_then(unit).unwrap_or_default()];
    let (units, length) = match (0xd800..0xdc00).contains(&first) {
        true => (&both[..], 12),
        false => (&both[..1], 6),
    };
    Some((String::from_utf16(units).ok()?.into_bytes(), length))
}

/// `&amp;`, `&#38;`, `&#x26;`.
fn entity(rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    let end = rest
        .iter()
        .take(LONGEST_ESCAPE)
        .position(|byte| *byte == b';')?;
    let character = match &rest[1..end] {
        [b'#', b'x' | b'X', digits @ ..] => char::from_u32(hex(digits)?)?,
        [b'#', digits @ ..] => {
            let digits = str::from_utf8(digits).ok()?;
            char::from_u32(digits.parse().ok()?)?
        }
        name => {
            ENTITIES
                .iter()
                .find(|(known, _)| known.as_bytes() == name)?
                .1
        }
    };
    Some((character.to_string().into_bytes(), end + 1))
}

fn hex(digits: &[u8]) -> Option<u32> {
    let is_hex = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    let digits = str::from_utf8(digits).ok().filter(|_| is_hex)?;
    u32::from_str_radix(digits, 16).ok()
}

/// Whether these bytes are the beginning of an escape.
fn is_cut(rest: &[u8]) -> bool {
    match rest {
        [b'%', digits @ ..] => digits.len() < 2 && digits.iter().all(u8::is_ascii_hexdigit),
        [b'\\'] => true,
        [b'\\', b'u', digits @ ..] => digits.len() < 4 && digits.iter().all(u8::is_ascii_hexdigit),
        [b'&', name @ ..] => {
            let mut name = name.iter();
            name.all(|byte| byte.is_ascii_alphanumeric() || *byte == b'#')
        }
        _ => false,
    }
}

const ENTITIES: [(&str, char); 14] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("sol", '/'),
    ("bsol", '\\'),
    ("equals", '='),
    ("plus", '+'),
    ("colon", ':'),
    ("comma", ','),
    ("period", '.'),
    ("lowbar", '_'),
    ("percnt", '%'),
];

/// So many escapes within each other are undone.
const MOST_LAYERS: usize = 8;

/// The length of the longest escape that is known, in bytes.
const LONGEST_ESCAPE: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_within_each_other() {
        let table = [
            ("plain+text", "plain+text"),
            (r#"a\/b\"c\\d"#, r#"a/b"c\d"#),
            (r"a\u002Bb\u00e9\ud83d\ude00", "a+b\u{e9}\u{1f600}"),
            ("a&amp;b&#43;c&#x2F;d&quot;", "a&b+c/d\""),
            ("a%2Bb%c3%a9", "a+b\u{e9}"),
            (r"a\u0026amp;b%253D", "a&b="),
            (
                "100% & \\x \\ud83d &none; &#x110000;",
                "100% & \\x \\ud83d &none; &#x110000;",
            ),
        ];
        for (text, expected) in table {
            let view = View::of(text.as_bytes()).unescaped();
            assert_eq!(String::from_utf8_lossy(&view.bytes), expected, "{text}");
        }
        let view = View::of(b"ab%2Bcd").unescaped();
        assert_eq!((view.source(1..3), view.source(2..5)), (1..5, 2..7));
    }

    #[test]
    fn an_escape_that_is_cut_is_left_out() {
        for cut in ["\\", "\\u", "\\u00", "%", "%2", "&", "&am", "&#x2"] {
            let view = View::of(format!("ab{cut}").as_bytes()).without_cut_escape();
            assert_eq!(view.bytes, b"ab", "{cut}");
            assert_eq!(view.source(0..2), 0..2 + cut.len());
        }
        let whole = View::of(b"a&amp;b").without_cut_escape();
        assert_eq!(whole.bytes, b"a&amp;b");
    }
}
