//! What the sender may have used instead: other keys made from the same secret, and other bodies made
//! from the same bytes.
//!
//! A variant may equal the original. It explains nothing then, because the original is tried first.

use std::borrow::Cow;

use offhook::settings::DOCUMENTED_KEY;
use offhook::signature::Encoding;

use super::{Finding, Mistake, json};

/// Other keys, with the finding for each if it is the right one.
pub(super) fn keys(secret: &[u8]) -> Vec<(Vec<u8>, Finding)> {
    let trimmed = secret.trim_ascii();
    let whsec = trimmed.strip_prefix(b"whsec_");
    let joined = |before: &[u8], after: &[u8]| Some([before, secret, after].concat());
    let unquoted = |quote: &[u8]| {
        let inner = secret.strip_prefix(quote)?.strip_suffix(quote)?;
        Some(inner.to_vec())
    };
    let table = [
        (DOCUMENTED, NOT_YOURS, Some(DOCUMENTED_KEY.to_vec())),
        // HMAC pads a key with zeros, so a zero byte is the same as an empty key.
        (EMPTY_SECRET, "with an empty secret", Some(vec![0])),
        (WHITESPACE, TRIMMED, Some(trimmed.to_vec())),
        (WHITESPACE, ENDING, joined(b"", b"\n")),
        (WHITESPACE, ENDING, joined(b"", b"\r\n")),
        (WHITESPACE, ENDING, joined(b"", b" ")),
        (QUOTES, UNQUOTED, unquoted(b"\"")),
        (QUOTES, UNQUOTED, unquoted(b"'")),
        (QUOTES, QUOTED, joined(b"\"", b"\"")),
        (QUOTES, QUOTED, joined(b"'", b"'")),
        (DECODED, FROM_HEX, Encoding::Hex.decode(trimmed)),
        (DECODED, FROM_BASE64, base64(trimmed)),
        (DECODED, FROM_WHSEC, whsec.and_then(base64)),
        (DECODED, WITHOUT_WHSEC, whsec.map(<[u8]>::to_vec)),
    ];
    let variants = table.into_iter().filter_map(|(mistake, how, key)| {
        Some((key?, Finding::new(mistake, format!("it is made {how}"))))
    });
    variants.collect()
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
    let unmarked = body.strip_prefix(MARK);
    // An empty body has a finding of its own.
    let trimmed = Some(body.trim_ascii()).filter(|trimmed| !trimmed.is_empty());
    let table = [
        (FINAL_LINE_BREAK, ADDED, shorter(b"\n")),
        (FINAL_LINE_BREAK, ADDED, shorter(b"\r\n")),
        (FINAL_LINE_BREAK, REMOVED, joined(b"", b"\n")),
        (FINAL_LINE_BREAK, REMOVED, joined(b"", b"\r\n")),
        (LINE_BREAKS, LF, Some(with_lines_ending(body, b"\n"))),
        (LINE_BREAKS, CRLF, Some(with_lines_ending(body, b"\r\n"))),
        (BYTE_ORDER_MARK, MARKED, unmarked.map(Cow::Borrowed)),
        (BYTE_ORDER_MARK, MARKED, joined(MARK, b"")),
        (AROUND, UNTRIMMED, trimmed.map(Cow::Borrowed)),
    ];
    let plain = table
        .into_iter()
        .filter_map(|(mistake, how, body)| Some((body?, altered(mistake, how))));
    let rewritten = json::rewritten(unmarked.unwrap_or(body)).map(|(how, text)| {
        let how = format!("the JSON that was signed is written {how}");
        (text.into_bytes().into(), altered(REWRITTEN, &how))
    });
    let empty = Finding::new(EMPTY_BODY, "it is the signature of an empty body");
    let empty = [(Cow::Borrowed(&b""[..]), empty)];
    plain.chain(empty).chain(rewritten)
}

fn altered(mistake: Mistake, how: &str) -> Finding {
    Finding::new(mistake, format!("the body was altered: {how}"))
}

fn with_lines_ending<'a>(body: &[u8], end: &[u8]) -> Cow<'a, [u8]> {
    let mut changed = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        if let Some(text) = line.strip_suffix(b"\n") {
            changed.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
            changed.extend_from_slice(end);
        } else {
            changed.extend_from_slice(line);
        }
    }
    changed.into()
}

const DOCUMENTED: Mistake = ("documented-key", "Set your own secret at the sender.");
const NOT_YOURS: &str =
    "with the key that the gateway's documentation prints, not with your secret";
const EMPTY_SECRET: Mistake = (
    "empty-secret",
    "The sender's secret is not set: check the name of its variable.",
);
const WHITESPACE: Mistake = (
    "secret-whitespace",
    "Write the secret the same way on both sides: printf '%s' adds no line break, echo does.",
);
const TRIMMED: &str = "without the whitespace around your secret";
const ENDING: &str = "with whitespace after the secret";
const QUOTES: Mistake = (
    "secret-quotes",
    "Write the secret the same way on both sides; some env files keep the quotes.",
);
const UNQUOTED: &str = "without the quotes around your secret";
const QUOTED: &str = "with quotes around the secret";
const DECODED: Mistake = (
    "secret-decoded",
    "Let the sender use the secret's text as it is as the key.",
);
const FROM_HEX: &str = "with the secret decoded from hexadecimal";
const FROM_BASE64: &str = "with the secret decoded from base64";
const FROM_WHSEC: &str = "with the secret decoded from base64 after its whsec_";
const WITHOUT_WHSEC: &str = "with the secret without its whsec_";

const FINAL_LINE_BREAK: Mistake = (
    "body-final-line-break",
    "Many editors and echo add one. Keep the body byte for byte: curl --data-binary, printf '%s'.",
);
const ADDED: &str = "a line break at its end was added after the signing";
const REMOVED: &str = "a line break at its end was removed after the signing";
const LINE_BREAKS: Mistake = (
    "body-line-breaks",
    "Move the body as binary: no text mode, no conversion of line breaks.",
);
const LF: &str = "it was signed with LF line breaks";
const CRLF: &str = "it was signed with CRLF line breaks";
const BYTE_ORDER_MARK: Mistake = (
    "body-bom",
    "Write files as UTF-8 without a byte order mark.",
);
const MARK: &[u8] = b"\xef\xbb\xbf";
const MARKED: &str = "a UTF-8 byte order mark at its start was added or removed";
const AROUND: Mistake = ("body-whitespace", RAW);
const UNTRIMMED: &str = "it was signed without the whitespace around it";
const EMPTY_BODY: Mistake = (
    "body-empty",
    "The sender signs before it has the body, or signs a stream that was read already.",
);
const REWRITTEN: Mistake = ("body-json", RAW);
const RAW: &str = "Sign the very bytes that are sent, and verify the very bytes that were received: \
                   serialise once, never parse and serialise again.";
