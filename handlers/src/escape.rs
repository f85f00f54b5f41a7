//! Makes a sender's text safe to print, or to use in a header or an environment variable.

use std::borrow::Cow;
use std::fmt::Write;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// Escapes control characters, so that the text stays on one line and in its place.
///
/// It escapes control characters (line breaks, escape sequences), Unicode's line and paragraph
/// separators, and the bidirectional controls that can make a line read differently. Letters of every
/// script, emoji and their joiners stay unchanged.
///
/// ```
/// use offhook_handlers::escape_controls;
///
/// assert_eq!(escape_controls("Hello!"), "Hello!");
/// assert_eq!(escape_controls("a\nb\u{202e}c"), r"a\nb\u{202e}c");
/// ```
pub fn escape_controls(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(must_escape) else {
        return Cow::Borrowed(text);
    };
    let mut escaped = String::with_capacity(text.len() + 16);
    escaped.push_str(&text[..first]);
    for character in text[first..].chars() {
        match character {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            odd if must_escape(odd) => {
                let _ = write!(escaped, "\\u{{{:04x}}}", u32::from(odd));
            }
            plain => escaped.push(plain),
        }
    }
    Cow::Owned(escaped)
}

/// Escapes the same characters in a JSON text, as `\\u…`. They occur only in strings, where an escape means the
/// same.
///
/// ```
/// use offhook_handlers::escape_controls_in_json;
///
/// assert_eq!(escape_controls_in_json("[\"a\u{202e}b\"]"), r#"["a\u202eb"]"#);
/// ```
pub fn escape_controls_in_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        // Between its values JSON may have these.
        if must_escape(character) && !matches!(character, '\n' | '\t' | '\r') {
            let _ = write!(escaped, "\\u{:04x}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

fn must_escape(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}'
            | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Percent-encodes (as UTF-8) everything outside visible ASCII, and `%` itself.
///
/// The result can be used in a header's value or an environment variable, and decodes to exactly the
/// original text.
///
/// ```
/// use offhook_handlers::percent_encode;
///
/// assert_eq!(percent_encode("408f-7372"), "408f-7372");
/// assert_eq!(percent_encode("../x\r\nY: 1%"), "../x%0D%0AY:%201%25");
/// ```
pub fn percent_encode(text: &str) -> Cow<'_, str> {
    const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');
    utf8_percent_encode(text, ENCODED).into()
}
