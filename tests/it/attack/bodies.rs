//! Bodies that cost their receiver more than their sender, and signatures for them.

use std::io::Write as _;

use fastrand::Rng;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use offhook::testing::{TestEvent, TestRequest};

use super::sockets::KEY_OF_B;
use crate::support::{KEY, secret};

/// A small message, with the secret that its session must have.
pub fn message(session: &str, id: &str) -> TestRequest {
    let event = TestEvent::message(&format!("+{session}"), "Hello!");
    let key = if session == "B" { KEY_OF_B } else { KEY };
    event.session(session).id(id).sign(&secret(key))
}

/// The text of a message with a field `pad`.
pub fn padded(session: &str, id: &str, pad: &str) -> String {
    let event = TestEvent::message("+1", "Hello!").session(session).id(id);
    event.field("pad", pad).body()
}

/// A text of about so many bytes that gzip makes 70 to 90 times smaller, which is within the limit of 100.
pub fn dense_text(bytes: usize, rng: &mut Rng) -> String {
    let mut text = String::with_capacity(bytes + 30_000);
    while text.len() < bytes {
        text.extend((0..400).map(|_| rng.alphanumeric()));
        text.extend(std::iter::repeat_n('A', 26_000));
    }
    text
}

pub fn gzip(content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content.as_ref()).unwrap();
    encoder.finish().unwrap()
}

pub fn zlib(content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content.as_ref()).unwrap();
    encoder.finish().unwrap()
}

pub fn deflate(content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content.as_ref()).unwrap();
    encoder.finish().unwrap()
}

/// The content in each encoding that a body can have, with the value of its header.
pub fn encodings(content: &str) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("identity", content.into()),
        ("gzip", gzip(content)),
        ("x-gzip", gzip(content)),
        ("deflate", zlib(content)),
        ("deflate", deflate(content)),
        ("gzip, gzip", gzip(gzip(content))),
        ("deflate, gzip", gzip(zlib(content))),
        ("gzip, gzip, gzip", gzip(gzip(gzip(content)))),
    ]
}

/// An encoded body with a signature by `key`.
pub fn encoded(body: impl Into<Vec<u8>>, encoding: &str, key: &str) -> TestRequest {
    TestRequest::signed(body, &secret(key)).header("Content-Encoding", encoding)
}

/// A head of a POST with a made-up signature, and more headers.
pub fn made_up_head(more: &str) -> String {
    let signature = "0".repeat(64);
    format!("POST /webhook HTTP/1.1\r\nHost: x\r\nX-Webhook-Signature: {signature}\r\n{more}\r\n")
}
