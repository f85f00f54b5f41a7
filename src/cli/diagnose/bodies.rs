//! How a body may have changed after it was signed.

use std::borrow::Cow;

use super::Finding;
use super::json::Style;
use super::parsed;

type Variant<'a> = (Cow<'a, [u8]>, Finding);

/// Other forms of the body, with the finding for each if it is the one that was signed.
pub(super) fn variants(body: &[u8]) -> impl Iterator<Item = Variant<'_>> {
    let plain = [
        body.strip_suffix(b"\n")
            .map(|body| (body.into(), final_line_break(ADDED))),
        body.strip_suffix(b"\r\n")
            .map(|body| (body.into(), final_line_break(ADDED))),
        Some(([body, b"\n"].concat().into(), final_line_break(REMOVED))),
        Some(([body, b"\r\n"].concat().into(), final_line_break(REMOVED))),
        replaced(body, b"\r\n", b"\n").map(|body| (body.into(), line_breaks("LF"))),
        with_crlf(body).map(|body| (body.into(), line_breaks("CRLF"))),
        body.strip_prefix(BOM)
            .map(|body| (body.into(), byte_order_mark())),
        Some(([BOM, body].concat().into(), byte_order_mark())),
        Some((Cow::Borrowed(&b""[..]), empty())),
        Some((body.trim_ascii().into(), surrounding())),
    ];
    let parsed = parsed::parse(body.strip_prefix(BOM).unwrap_or(body));
    let sorted = [false, true].into_iter();
    let styles = sorted.flat_map(|sorted| Style::ALL.iter().map(move |style| (sorted, style)));
    let rewritten = styles.filter_map(move |(sorted, (name, style))| {
        let text = parsed.as_ref()?.write(*style, sorted);
        Some((text.into_bytes().into(), reserialised(name, sorted)))
    });
    plain.into_iter().flatten().chain(rewritten)
}

fn replaced(body: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let mut result = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        result.extend_from_slice(&rest[..at]);
        result.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    result.extend_from_slice(rest);
    (result != body).then_some(result)
}

fn with_crlf(body: &[u8]) -> Option<Vec<u8>> {
    let unix = replaced(body, b"\r\n", b"\n");
    replaced(unix.as_deref().unwrap_or(body), b"\n", b"\r\n").filter(|crlf| crlf != body)
}

fn final_line_break(how: &str) -> Finding {
    let why = format!("the body was altered: a line break at its end was {how} after the signing");
    let advice = "Many editors and echo add one. Keep the body byte for byte: curl --data-binary, printf '%s'.";
    Finding::new("body-final-line-break", why, advice)
}

fn line_breaks(signed: &str) -> Finding {
    let why = format!("the body was altered: it was signed with {signed} line breaks");
    let advice = "Move the body as binary: no text mode, no conversion of line breaks.";
    Finding::new("body-line-breaks", why, advice)
}

fn byte_order_mark() -> Finding {
    let why = "the body was altered: a UTF-8 byte order mark at its start was added or removed";
    Finding::new(
        "body-bom",
        why,
        "Write files as UTF-8 without a byte order mark.",
    )
}

fn empty() -> Finding {
    let why = "it is the signature of an empty body";
    let advice =
        "The sender signs before it has the body, or signs a stream that was read already.";
    Finding::new("body-empty", why, advice)
}

fn surrounding() -> Finding {
    let why = "the body was altered: it was signed without the whitespace around it";
    Finding::new("body-whitespace", why, RAW)
}

fn reserialised(name: &str, sorted: bool) -> Finding {
    let keys = if sorted { ", its keys sorted" } else { "" };
    let why = format!("the body was altered: the JSON that was signed is written {name}{keys}");
    Finding::new("body-json", why, RAW)
}

const RAW: &str = "Sign the very bytes that are sent, and verify the very bytes that were received: \
                   serialise once, never parse and serialise again.";
const ADDED: &str = "added";
const REMOVED: &str = "removed";
const BOM: &[u8] = b"\xef\xbb\xbf";
