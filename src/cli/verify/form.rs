//! The form of a signature: 64 hexadecimal digits, with or without `sha256=` before them.

use offhook::signature::Encoding;

use super::Finding;
use super::variants::base64;

/// The signature's bytes with what is unusual about their form, or why there are none.
pub(super) fn read(signature: &str) -> Result<(Vec<u8>, Vec<Finding>), Finding> {
    let mut findings = Vec::new();
    let text = without_header_name(signature.trim());
    if text.is_empty() || text == "sha256=" {
        return Err(Finding::new("missing", "there is no signature"));
    }
    let unquoted = text.trim_matches(['"', '\'']);
    if unquoted != text {
        findings.push(Finding::new("quoted", "it stands in quotes"));
    }
    let (prefix, digits) = split_prefix(unquoted);
    if !matches!(prefix, "" | "sha256=") {
        let why = format!("it begins with {prefix:?}; only sha256= or nothing may stand there");
        findings.push(Finding::new("prefix", why));
    }
    if let Some(bytes) = Encoding::Hex.decode(digits.as_bytes()) {
        return Ok((bytes, findings));
    }
    if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(length(digits.len()));
    }
    match base64(digits.as_bytes()) {
        Some(bytes) if is_base64(digits, bytes.len()) => {
            findings.push(Finding::new("base64", "it is base64, not hexadecimal"));
            Ok((bytes, findings))
        }
        _ => {
            let why = "it is not hexadecimal: other characters than 0-9 and a-f are in it";
            Err(Finding::new("not-hex", why))
        }
    }
}

/// The finding for a number of digits that no HMAC-SHA256 has.
pub(super) fn length(digits: usize) -> Finding {
    let hash = HASHES.iter().find(|(bytes, _)| bytes * 2 == digits);
    let as_many = |(_, name): &(usize, &str)| format!(", as many as {name} gives");
    let looks = hash.map(as_many).unwrap_or_default();
    let why = format!("it has {digits} hexadecimal digits{looks}; HMAC-SHA256 has 64");
    Finding::new("length", why)
}

/// Users may paste the whole header line.
fn without_header_name(line: &str) -> &str {
    match line.split_once(':') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("x-webhook-signature") => {
            value.trim()
        }
        _ => line,
    }
}

/// Splits off what precedes the signature: `sha512=…`, `SHA256=…`, `v1,…`, `sha256:…`, `0x…`.
fn split_prefix(text: &str) -> (&str, &str) {
    let separator = text.find(['=', ',', ':', ' ']).map(|index| index + 1);
    let hexadecimal = text.starts_with("0x").then_some(2);
    match separator.or(hexadecimal) {
        // A `=` at the end belongs to base64.
        Some(end) if text.starts_with("sha256=") || text.len() - end >= SHORTEST => {
            text.split_at(end)
        }
        _ => ("", text),
    }
}

/// Whether a text that decodes as base64 is meant as base64. Hexadecimal with a wrong letter decodes
/// too, but its letters have only one case; other texts have another length.
fn is_base64(text: &str, bytes: usize) -> bool {
    text.bytes().any(|byte| byte.is_ascii_uppercase())
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
        && HASHES.iter().any(|(length, _)| *length == bytes)
}

/// Lengths in bytes of what is sent by mistake instead of a signature.
const HASHES: [(usize, &str); 5] = [
    (16, "MD5"),
    (20, "SHA-1"),
    (32, "SHA-256"),
    (48, "SHA-384"),
    (64, "SHA-512"),
];

/// The shortest signature after a prefix: MD5 in base64 without padding.
const SHORTEST: usize = 22;
