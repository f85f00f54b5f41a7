//! [`hide`]: a body without the credentials in it, to be shown.

use bytes::Bytes;
use memchr::memmem;

use super::object;

/// Returns the content with stars in place of the values of these fields of its object. Content that is no object ends at
/// the first of these names, because nothing tells where its value ends.
pub(super) fn hide(content: &Bytes, fields: &[&str]) -> Bytes {
    if fields.is_empty() {
        return content.clone();
    }
    let mut shown = Vec::with_capacity(content.len());
    // Up to where the content was taken care of.
    let mut from = 0;
    let text =
        str::from_utf8(content).map(|text| (text.trim_start_matches('\u{feff}'), text.len()));
    let is_read = text.is_ok_and(|(text, length)| {
        let before = length - text.len();
        let read = object::for_each_field(text, |key, value| {
            if fields.iter().any(|field| field.as_bytes() == key.bytes()) {
                let start = before + (value.as_ptr() as usize - text.as_ptr() as usize);
                shown.extend_from_slice(&content[from..start]);
                shown.extend_from_slice(b"\"***\"");
                from = start + value.len();
            }
        });
        read.is_ok()
    });
    let rest = &content[from..];
    if is_read {
        shown.extend_from_slice(rest);
    } else if from == 0 {
        let places = fields.iter();
        let places = places.filter_map(|field| memmem::find(rest, field.as_bytes()));
        let end = places.min();
        shown.extend_from_slice(&rest[..end.unwrap_or(rest.len())]);
        if end.is_some() {
            shown.extend_from_slice(b"***");
        }
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hidden(body: &[u8]) -> Vec<u8> {
        hide(&Bytes::copy_from_slice(body), &["apikey"]).to_vec()
    }

    #[test]
    fn credentials_are_stars() {
        let table: [(&[u8], &[u8]); 9] = [
            (
                br#"{"apikey":"A","event":"x","apikey": {"b":1}, "data":{"apikey":"C"}}"#,
                br#"{"apikey":"***","event":"x","apikey": "***", "data":{"apikey":"C"}}"#,
            ),
            (br#" {"\u0061pikey":"A"} "#, br#" {"\u0061pikey":"***"} "#),
            (
                b"\xef\xbb\xbf{\"apikey\":1}",
                b"\xef\xbb\xbf{\"apikey\":\"***\"}",
            ),
            (br#"{"a":"apikey"}"#, br#"{"a":"apikey"}"#),
            (b"{\"apikey\":\"A\"", b"{\"apikey\":\"***\""),
            (b"{\"a\":1 \"apikey\":\"A\"}", b"{\"a\":1 \"***"),
            (b"[{\"apikey\":\"A\"}]", b"[{\"***"),
            (b"\xff apikey=A", b"\xff ***"),
            (b"", b""),
        ];
        for (body, expected) in table {
            let shown = hidden(body);
            assert_eq!(shown, expected, "{}", String::from_utf8_lossy(&shown));
        }
        let body = Bytes::from_static(b"{\"apikey\":1}");
        assert_eq!(hide(&body, &[]), body);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Cut anywhere, or with another byte somewhere: what it held is never shown.
        #[test]
        fn no_broken_body_shows_them(at in 0usize..60, byte: Option<u8>) {
            let whole = br#"{"event":"a","data":{"x":[1,"y"]},"apikey":"HIDDEN","z":null}"#;
            let mut body = whole.to_vec();
            match byte {
                None => body.truncate(at),
                // A changed name is another field.
                Some(byte) if !(34..42).contains(&at) => body[at] = byte,
                Some(_) => {}
            }
            let shown = hidden(&body);
            prop_assert!(memmem::find(&shown, b"HIDDEN").is_none(), "{}", String::from_utf8_lossy(&shown));
        }
    }
}
