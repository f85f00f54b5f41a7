//! What the sender may have used instead: other keys made from the same secret, and other bodies made
//! from the same bytes.
//!
//! A variant may equal the original. It explains nothing then, because the original is tried first.

use std::borrow::Cow;

use super::finding::Finding;
use super::json;
use crate::signature::secret::{DOCUMENTED_KEY, Encoding};

/// Other keys, with the finding for each if it is the right one.
pub(super) fn keys(secret: &[u8]) -> Vec<(Vec<u8>, Finding)> {
    let trimmed = secret.trim_ascii();
    let whsec = trimmed.strip_prefix(b"whsec_");
    let joined = |before: &[u8], after: &[u8]| Some([before, secret, after].concat());
    let unquoted = |quote: &[u8]| Some(secret.strip_prefix(quote)?.strip_suffix(quote)?.to_vec());
    let table = [
        ("documented-key", NOT_YOURS, Some(DOCUMENTED_KEY.to_vec())),
        // HMAC pads a key with zeros, so a zero byte is the same as an empty key.
        ("empty-secret", "with an empty secret", Some(vec![0])),
        ("secret-whitespace", TRIMMED, Some(trimmed.to_vec())),
        ("secret-whitespace", ENDING, joined(b"", b"\n")),
        ("secret-whitespace", ENDING, joined(b"", b"\r\n")),
        ("secret-whitespace", ENDING, joined(b"", b" ")),
        ("secret-quotes", UNQUOTED, unquoted(b"\"")),
        ("secret-quotes", UNQUOTED, unquoted(b"'")),
        ("secret-quotes", QUOTED, joined(b"\"", b"\"")),
        ("secret-quotes", QUOTED, joined(b"'", b"'")),
        ("secret-decoded", FROM_HEX, Encoding::Hex.decode(trimmed)),
        ("secret-decoded", FROM_BASE64, base64(trimmed)),
        ("secret-decoded", FROM_WHSEC, whsec.and_then(base64)),
        ("secret-decoded", WITHOUT_WHSEC, whsec.map(<[u8]>::to_vec)),
    ];
    let variants = table.into_iter().filter_map(|(reason, how, key)| {
        Some((key?, Finding::new(reason, format!("it is made {how}"))))
    });
    variants.collect()
}

/// The key of a sender that does not decode a secret of Standard Webhooks.
pub(super) fn undecoded(secret: &[u8]) -> (Vec<u8>, Finding) {
    let why = "it is made with the text of the secret, not with what its whsec_ stands for";
    (secret.to_vec(), Finding::new("secret-undecoded", why))
}

/// Decodes both alphabets of base64.
pub(super) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let standard = text.iter().map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    });
    Encoding::Base64.decode(&standard.collect::<Vec<_>>())
}

/// Other forms of the body, with the finding for each if it is the one that was signed.
pub(super) fn bodies(body: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Finding)> {
    let shorter = |end: &[u8]| body.strip_suffix(end).map(Cow::Borrowed);
    let joined = |before: &[u8], after: &[u8]| Some([before, body, after].concat().into());
    let lines = |end: &[u8]| Some(with_lines_ending(body, end));
    let unmarked = body.strip_prefix(MARK);
    // An empty body has a finding of its own.
    let trimmed = Some(body.trim_ascii()).filter(|trimmed| !trimmed.is_empty());
    let table = [
        ("body-final-line-break", ADDED, shorter(b"\n")),
        ("body-final-line-break", ADDED, shorter(b"\r\n")),
        ("body-final-line-break", REMOVED, joined(b"", b"\n")),
        ("body-final-line-break", REMOVED, joined(b"", b"\r\n")),
        ("body-line-breaks", LF, lines(b"\n")),
        ("body-line-breaks", CRLF, lines(b"\r\n")),
        ("body-bom", MARKED, unmarked.map(Cow::Borrowed)),
        ("body-bom", MARKED, joined(MARK, b"")),
        ("body-whitespace", UNTRIMMED, trimmed.map(Cow::Borrowed)),
    ];
    let plain = table
        .into_iter()
        .filter_map(|(reason, how, body)| Some((body?, altered(reason, how))));
    let rewritten = json::rewritten(unmarked.unwrap_or(body)).map(|(how, text)| {
        let how = format!("the JSON that was signed is written {how}");
        (text.into_bytes().into(), altered("body-json", &how))
    });
    let empty = Finding::new("body-empty", "it is the signature of an empty body");
    let empty = [(Cow::Borrowed(&b""[..]), empty)];
    plain.chain(empty).chain(rewritten)
}

fn altered(reason: &'static str, how: &str) -> Finding {
    Finding::new(reason, format!("the body was altered: {how}"))
}

fn with_lines_ending<'a>(body: &[u8], end: &[u8]) -> Cow<'a, [u8]> {
    let mut lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
    let ended = lines.len() - 1;
    for line in &mut lines[..ended] {
        *line = line.strip_suffix(b"\r").unwrap_or(line);
    }
    lines.join(end).into()
}

const NOT_YOURS: &str =
    "with the key that the gateway's documentation prints, not with your secret";
const TRIMMED: &str = "without the whitespace around your secret";
const ENDING: &str = "with whitespace after the secret";
const UNQUOTED: &str = "without the quotes around your secret";
const QUOTED: &str = "with quotes around the secret";
const FROM_HEX: &str = "with the secret decoded from hexadecimal";
const FROM_BASE64: &str = "with the secret decoded from base64";
const FROM_WHSEC: &str = "with the secret decoded from base64 after its whsec_";
const WITHOUT_WHSEC: &str = "with the secret without its whsec_";

const ADDED: &str = "a line break at its end was added after the signing";
const REMOVED: &str = "a line break at its end was removed after the signing";
const LF: &str = "it was signed with LF line breaks";
const CRLF: &str = "it was signed with CRLF line breaks";
const MARK: &[u8] = b"\xef\xbb\xbf";
const MARKED: &str = "a UTF-8 byte order mark at its start was added or removed";
const UNTRIMMED: &str = "it was signed without the whitespace around it";
