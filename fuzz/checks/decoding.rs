//! Bodies are decoded within limits, and what is seen before the sender is proven is what is read later.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use offhook::{Event, read_body};

use super::Input;

/// Makes a body and its headers of `input`, reads it, and checks what must hold.
pub fn check(input: &[u8]) {
    let mut input = Input(input);
    let max_body = [0, 100, 70_000, 300_000][usize::from(input.byte().unwrap_or(0) % 4)];
    let (body, encoding) = body(&mut input);
    let [read, peeked] = read_body(&body, encoding.as_deref(), max_body);
    let (content, events) = read.expect("reading a proven body never fails");

    assert_events(&events);
    // JSON compresses to about a tenth; these are the limits of DESIGN 1.2.
    let full = (body.len() * 100).max(1024 * 1024).min(max_body);
    let is_decoded = content != body;
    assert!(
        !is_decoded || content.len() <= full,
        "{} bytes",
        content.len()
    );

    let named = encoding.as_deref().map(String::from_utf8_lossy);
    let is_plain = named.is_none_or(|named| {
        let mut names = named.split(',').map(str::trim);
        names.all(|name| name.is_empty() || name.eq_ignore_ascii_case("identity"))
    });
    assert!(!is_plain || !is_decoded);
    match peeked {
        Ok((seen, seen_events)) => {
            let short = (body.len() * 32).max(64 * 1024).min(max_body);
            assert!(seen == body || seen.len() <= short, "{} bytes", seen.len());
            assert!(seen == content && seen_events == events);
        }
        // Then nothing may be assumed of its session.
        Err(_) => assert!(!is_plain),
    }
}

fn assert_events(events: &[Event]) {
    assert!(!events.is_empty());
    for event in events {
        let texts = [event.session_id(), event.name()];
        assert!(texts.into_iter().flatten().all(|text| text.len() <= 1024));
    }
}

/// A body in up to three encodings, and a header that says so, or something else.
fn body(input: &mut Input<'_>) -> (Vec<u8>, Option<Vec<u8>>) {
    let how = input.byte().unwrap_or(0);
    let times = 1 << (input.byte().unwrap_or(0) % 14);
    let mut names = Vec::new();
    if how & 1 == 1 {
        let length = input.byte().unwrap_or(0) % 24;
        names.push(input.bytes(length.into()).to_vec());
    }
    let mut packings: Vec<u8> = input.bytes(usize::from(how >> 1 & 3)).to_vec();
    packings.truncate(3);
    let text = input.bytes(usize::MAX);
    let mut body = match how >> 3 & 3 {
        0 => text.to_vec(),
        1 => [
            b"{\"event\":\"status\",\"sessionId\":\"A\",\"x\":\"",
            text,
            b"\"}",
        ]
        .concat(),
        2 => [b"{\"sessionId\":\"", &text.repeat(times)[..], b"\"}"].concat(),
        _ => text.repeat(times),
    };
    body.truncate(2 * 1024 * 1024);
    for packing in packings {
        body = pack(&body, packing % 4);
        names.push(
            [&b"gzip"[..], b"deflate", b"Deflate", b"x-gzip"][usize::from(packing % 4)].to_vec(),
        );
    }
    // Cut, or with something behind it.
    match how >> 5 & 3 {
        1 => body.truncate(body.len() - body.len().min(9)),
        2 => body.extend(b"more"),
        _ => {}
    }
    let header = (!names.is_empty()).then(|| names.join(&b", "[..]));
    (body, header.filter(|_| how < 224))
}

fn pack(body: &[u8], packing: u8) -> Vec<u8> {
    let level = Compression::fast();
    let packed = match packing {
        1 => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(body).and_then(|()| encoder.finish())
        }
        2 => {
            let mut encoder = DeflateEncoder::new(Vec::new(), level);
            encoder.write_all(body).and_then(|()| encoder.finish())
        }
        _ => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(body).and_then(|()| encoder.finish())
        }
    };
    packed.expect("a vector takes everything")
}
