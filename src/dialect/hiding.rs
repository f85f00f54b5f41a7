//! [`hide`]: a body without the credentials in it, to be shown. A dialect names the fields of its gateway's; those of
//! [`EVERYWHERE`] are hidden under each.

use bytes::Bytes;
use memchr::memmem;

use super::evolution::SECRET_FIELDS;
use super::object;
use crate::{Event, Extra};

/// The credential of a gateway, which a source may have with a dialect that does not know it.
pub(super) const EVERYWHERE: &[&str] = SECRET_FIELDS;

/// Whether content may hold one of these credentials.
pub(super) fn may_hold(content: &[u8]) -> bool {
    let mut fields = EVERYWHERE.iter();
    fields.any(|field| memmem::find(content, field.as_bytes()).is_some())
}

/// As [`hide`] with these credentials. Only an object is known to have any, so other content stays as it is.
pub(super) fn hide_everywhere(content: &Bytes) -> Bytes {
    let is_object = may_hold(content) && {
        let text = str::from_utf8(content).unwrap_or_default();
        object::for_each_field(text.trim_start_matches('\u{feff}'), |_, _| {}).is_ok()
    };
    if is_object {
        hide(content, EVERYWHERE)
    } else {
        content.clone()
    }
}

/// Takes these credentials out of the other fields of an event that is shown.
pub(crate) fn hide_credentials(event: &mut Event) {
    let is_credential = |name: &str| EVERYWHERE.contains(&name);
    let Some(extra) = event.extra_mut() else {
        return;
    };
    if !extra.iter().any(|(name, _)| is_credential(name)) {
        return;
    }
    let mut shown = Extra::default();
    for (name, json) in extra.iter() {
        let json = if is_credential(name) { "\"***\"" } else { json };
        shown.push(name, json.into());
    }
    *extra = shown;
}

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

    /// Where it is not known to be a credential, only an object loses it.
    #[test]
    fn what_is_no_object_stays_under_other_dialects() {
        let table: [(&[u8], &[u8]); 5] = [
            (br#"{"apikey":"A"}"#, br#"{"apikey":"***"}"#),
            (
                b"\xef\xbb\xbf{\"apikey\":1}",
                b"\xef\xbb\xbf{\"apikey\":\"***\"}",
            ),
            (br#"["apikey"]"#, br#"["apikey"]"#),
            (b"Body=my+apikey&A=1", b"Body=my+apikey&A=1"),
            (b"\xff apikey", b"\xff apikey"),
        ];
        for (body, expected) in table {
            assert_eq!(hide_everywhere(&Bytes::from_static(body)), expected);
        }
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
