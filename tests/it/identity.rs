//! Who said it, and what is the same: nobody speaks for another session, nothing behind a closing answer
//! is served, and two events that differ are never taken for one.

mod access;
#[cfg(feature = "test-support")]
mod arbitrary;
mod before;
#[cfg(feature = "test-support")]
#[path = "../../fuzz/checks/mod.rs"]
mod checks;
mod closing;
mod duplicates;
mod secrets;
mod shapes;
mod whose;

use std::io::Write as _;
use std::net::SocketAddr;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use offhook::Server;
use offhook::testing::TestRequest;
use serde_json::Value;

use crate::records::get;

/// What an answer says about an event: 200 for a new one, 0 for a duplicate, or another status.
const NEW: u16 = 200;
const DUPLICATE: u16 = 0;

async fn sent(request: &TestRequest, to: SocketAddr) -> u16 {
    let answer = request.send(to).await;
    match (answer.status, answer.header("offhook-duplicate")) {
        (200, Some("true")) => DUPLICATE,
        (status, None) => status,
        other => panic!("{other:?}"),
    }
}

/// All events of `/api/events`, oldest first, once there are as many.
async fn events(server: &Server, count: usize) -> Vec<Value> {
    let length = |list: &Value| list["events"].as_array().unwrap().len();
    let list = crate::records::until(server, "/api/events", |list| length(list) >= count).await;
    assert_eq!(length(&list), count, "{list}");
    let mut events = list["events"].as_array().unwrap().clone();
    events.reverse();
    events
}

/// One event of `/api/events/{id}`.
async fn event(server: &Server, listed: &Value) -> Value {
    get(
        server,
        &format!("/api/events/{}", listed["id"].as_str().unwrap()),
    )
    .await
}

/// The request in chunks of `size` bytes.
fn chunked(request: &TestRequest, size: usize) -> Vec<u8> {
    let whole = request.bytes();
    let head = &whole[..whole.len() - request.body.len()];
    let head = String::from_utf8_lossy(head);
    let length = format!("Content-Length: {}\r\n", request.body.len());
    let mut bytes = head
        .replace(&length, "Transfer-Encoding: chunked\r\n")
        .into_bytes();
    for chunk in request.body.chunks(size) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}
