//! Where a viewer goes on in a body with several events; how many may watch, when they have to go, and who has to
//! come back with another token.

use std::time::Duration;

use offhook::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::viewer::Viewer;
use super::{admin, refused};
use crate::records::keeping;
use crate::relay::source_of_lines;
use crate::served::{Served, settings};
use crate::support::{Folder, bounded, signed};

#[actix_web::test]
async fn a_viewer_goes_on_within_a_body() {
    let folder = Folder::new("stream-parts");
    let server = keeping(&folder, |offhook| offhook.source(source_of_lines())).await;
    let admin = server.admin_address().unwrap();
    let message = |number: usize, session: &str| {
        json!({
            "event": "message", "messageId": format!("m{number}"), "from": "+1",
            "message": "Hello!", "sessionId": session,
        })
        .to_string()
    };
    for lines in [
        vec![message(1, "b")],
        vec![
            message(2, "a"),
            message(3, "b"),
            message(4, "a"),
            message(5, "b"),
        ],
    ] {
        let request = signed(lines.join("\n")).path("/lines");
        assert_eq!(request.send(server.public_address()).await.status, 200);
    }
    for (query, expected) in [
        (
            "?after=1",
            vec![("2.1", "a"), ("2.2", "b"), ("2.3", "a"), ("2", "b")],
        ),
        ("?after=2.1", vec![("2.2", "b"), ("2.3", "a"), ("2", "b")]),
        ("?after=2.3", vec![("2", "b")]),
        ("?after=1&session=a", vec![("2.1", "a"), ("2", "a")]),
        ("?after=2.1&session=a&complete=true", vec![("2", "a")]),
        ("?after=2", vec![]),
        ("", vec![]),
    ] {
        let mut viewer = Viewer::open(admin, query, "").await;
        for (id, session) in expected {
            let block = viewer.expect("event").await;
            assert_eq!(block.id.as_deref(), Some(id), "{query}");
            let known = (
                &block.data["session"],
                &block.data["parts"],
                &block.data["seq"],
            );
            assert_eq!(known, (&json!(session), &json!(4), &json!(2)), "{query}");
            let own = block.data["id"].as_str().unwrap();
            assert!(id != "2.3" || own.ends_with(".3"), "{own}");
        }
        // Nothing else is there before what comes next.
        viewer.none_is_ready().await;
    }
    server.stop().await;
}

/// Who has watched with the old token must show the new one.
#[actix_web::test]
async fn a_new_token_sends_viewers_away() {
    let folder = Folder::new("stream-token");
    settings(&folder, "");
    let path = folder.0.join("settings.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let with = |token: &str, more: &str| {
        let admin = format!("[admin]\ntoken = \"{token}\"\n{more}");
        std::fs::write(&path, text.replace("[admin]\n", &admin)).unwrap();
    };
    with("one-token", "");
    let served = Served::start(&folder);
    let header = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let refused = Viewer::try_open(served.admin, "", "").await;
    assert!(
        refused.head.starts_with("HTTP/1.1 401 "),
        "{}",
        refused.head
    );
    let mut first = Viewer::open(served.admin, "", &header("one-token")).await;
    // Another change leaves it alone.
    with("one-token", "max_viewers = 1\n");
    crate::served::until("taken", async || {
        let mut other = Viewer::try_open(served.admin, "", &header("one-token")).await;
        other.head.starts_with("HTTP/1.1 503 ") && other.body().await["code"] == "too_many_viewers"
    })
    .await;
    first.none_is_ready().await;
    with("other-token", "");
    first.expect("bye").await;
    assert_eq!(first.next().await.map(|block| block.data), None::<Value>);
    Viewer::open(served.admin, "", &header("other-token")).await;
    served.program.stop();
}

#[actix_web::test]
async fn viewers_have_places() {
    let folder = Folder::new("stream-places");
    let server = keeping(&folder, |offhook| {
        offhook.configure(|settings| settings.admin.as_mut().unwrap().max_viewers = 1)
    })
    .await;
    let first = Viewer::open(admin(&server), "", "").await;
    let (head, body) = refused(&server, "", "").await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(
        head.to_ascii_lowercase().contains("retry-after: 5\r\n"),
        "{head}"
    );
    assert_eq!(body["code"], "too_many_viewers");
    drop(first);
    // A viewer that has gone is noticed at once, though there is nothing to send.
    let began = SystemClock.monotonic();
    bounded(async {
        while !Viewer::try_open(admin(&server), "", "")
            .await
            .head
            .starts_with("HTTP/1.1 200")
        {}
    })
    .await;
    assert!(SystemClock.monotonic() - began < Duration::from_secs(10));
    server.stop().await;
}

#[actix_web::test]
async fn a_stop_ends_streams_promptly() {
    let folder = Folder::new("stream-stop");
    let server = keeping(&folder, |offhook| offhook).await;
    let mut viewers = Vec::new();
    for query in ["", "?kinds=event", "?complete=true", "?kinds=state"] {
        viewers.push(Viewer::open(admin(&server), query, "").await);
    }
    let began = SystemClock.monotonic();
    server.stop().await;
    assert!(SystemClock.monotonic() - began < Duration::from_secs(10));
    for mut viewer in viewers {
        let mut last = String::new();
        while let Some(block) = viewer.next().await {
            last = block.event;
        }
        assert_eq!((last.as_str(), viewer.has_ended()), ("bye", true));
    }
}

/// HTTP/1.0 has no chunks: the end of the connection is that of the stream.
#[actix_web::test]
async fn an_old_client_gets_no_chunks() {
    let folder = Folder::new("stream-old");
    let server = keeping(&folder, |offhook| offhook).await;
    let mut old = TcpStream::connect(admin(&server)).await.unwrap();
    old.write_all(b"GET /api/stream HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        .await
        .unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"id: 0\n\n") {
        text.push(bounded(old.read_u8()).await.unwrap());
    }
    server.stop().await;
    bounded(old.read_to_end(&mut text)).await.unwrap();
    let text = String::from_utf8(text).unwrap();
    let (head, stream) = text.split_once("\r\n\r\n").unwrap();
    assert!(!head.to_ascii_lowercase().contains("chunked"), "{head}");
    assert_eq!(stream, "retry: 2000\nid: 0\n\nevent: bye\ndata: {}\n\n");
}
