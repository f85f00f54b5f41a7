//! Viewers that do not keep up, and what is not there any more.

use std::time::Duration;

use futures_util::future::join_all;
use offhook::clock::{Clock as _, SystemClock};
use offhook::settings::JournalSettings;
use offhook::testing::{Recorder, TestEvent};
use serde_json::json;

use super::viewer::Viewer;
use super::{admin, refused, send, send_many};
use crate::records::{keeping, post, settled, until};
use crate::support::{DOCUMENTED, Folder, bounded, signed, without_duplicates};

/// A viewer that wants all gets all; another one goes on with the newest, and hears how many it has missed.
#[actix_web::test]
async fn a_slow_viewer_goes_on_with_the_newest() {
    let folder = Folder::new("stream-skips");
    let server = keeping(&folder, |offhook| {
        without_duplicates(offhook).handler("recorder", Recorder::default())
    })
    .await;
    send_many(server.public_address(), 0..800).await;
    settled(&server).await;
    let mut viewer = Viewer::open(admin(&server), "?after=0", "").await;
    for number in 1..=150 {
        assert_eq!(viewer.expect("event").await.data["seq"], number);
    }
    // What changes comes all the same, before or after it is seen that the viewer is slow.
    post(&server, "/api/consumers/handler:recorder/pause", json!({})).await;
    let mut blocks = [viewer.next().await.unwrap(), viewer.next().await.unwrap()];
    blocks.sort_by(|one, other| one.event.cmp(&other.event));
    let [consumer, skipped] = blocks;
    assert_eq!((&*consumer.event, &*skipped.event), ("consumer", "skipped"));
    assert_eq!(consumer.data["state"], "paused");
    let expected = json!({
        "kind": "event", "from": 151, "to": 800, "events": 650, "why": "behind",
    });
    assert_eq!((skipped.data, skipped.id), (expected, None));
    send_many(server.public_address(), 800..801).await;
    assert_eq!(viewer.expect("event").await.data["seq"], 801);
    let mut all = Viewer::open(admin(&server), "?after=0&complete=true&kinds=event", "").await;
    for number in 1..=801 {
        assert_eq!(all.expect("event").await.data["seq"], number);
    }
    server.stop().await;
}

/// It holds up neither senders nor other viewers, and its connection is ended after 10 s.
#[actix_web::test]
async fn a_viewer_that_reads_nothing_is_ended() {
    let folder = Folder::new("stream-blocked");
    let server = keeping(&folder, |offhook| {
        without_duplicates(offhook).configure(|settings| {
            settings.admin.as_mut().unwrap().max_viewers = 2;
        })
    })
    .await;
    // Each character takes six in JSON, so that few events fill all buffers on the way.
    let long = "\u{1}".repeat(1000);
    for _ in 0..50 {
        let request = signed(TestEvent::named(&long).session(&long).body());
        let sent = (0..16).map(|_| request.send(server.public_address()));
        join_all(sent).await;
    }
    let query = "?after=0&complete=true&kinds=event";
    let blocked = Viewer::open(admin(&server), query, "").await;
    let mut reads = Viewer::open(admin(&server), query, "").await;
    for number in 1..=800 {
        assert_eq!(reads.expect("event").await.data["seq"], number);
    }
    send(&server, DOCUMENTED[0]).await;
    assert_eq!(reads.expect("event").await.data["seq"], 801);
    assert_eq!(refused(&server, "", "").await.1["code"], "too_many_viewers");
    let began = SystemClock.monotonic();
    bounded(async {
        loop {
            let next = Viewer::try_open(admin(&server), "", "").await;
            if next.head.starts_with("HTTP/1.1 200") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    let waited = SystemClock.monotonic() - began;
    assert!(waited < Duration::from_secs(30), "{waited:?}");
    drop(blocked);
    server.stop().await;
}

#[actix_web::test]
async fn what_retention_has_removed_is_told() {
    let folder = Folder::new("stream-retention");
    let server = keeping(&folder, |offhook| {
        without_duplicates(offhook).configure(|settings| {
            if let JournalSettings::Sqlite(sqlite) = &mut settings.journal {
                sqlite.retention = Duration::from_millis(1);
            }
        })
    })
    .await;
    send_many(server.public_address(), 0..10).await;
    // The newest stays.
    until(&server, "/api/events", |list| {
        list["events"].as_array().unwrap().len() == 1
    })
    .await;
    for strict in [
        "?strict=true&after=3",
        "?strict=true&after=11",
        "?strict=true&after=8.1",
    ] {
        let (head, body) = refused(&server, strict, "").await;
        assert!(head.starts_with("HTTP/1.1 410 "), "{head}");
        assert_eq!(body["code"], "gone");
    }
    let mut viewer = Viewer::open(admin(&server), "?after=3", "").await;
    let skipped = viewer.expect("skipped").await.data;
    let expected = json!({
        "kind": "event", "from": 4, "to": 9, "events": 6, "why": "removed",
    });
    assert_eq!(skipped, expected);
    assert_eq!(viewer.expect("event").await.data["seq"], 10);
    for query in ["?strict=true&after=9", "?strict=true&after=0", "?after=0"] {
        let mut viewer = Viewer::open(admin(&server), query, "").await;
        assert_eq!(viewer.expect("event").await.data["seq"], 10, "{query}");
    }
    // Of what was received since a time, those that are gone are none.
    let mut viewer = Viewer::open(admin(&server), "?from=2025-01-08T12:00:00Z", "").await;
    assert_eq!(viewer.expect("event").await.data["seq"], 10);
    // A client that has got nothing of an empty journal is told what it has missed since.
    let mut viewer = Viewer::open(admin(&server), "", "Last-Event-ID: 0\r\n").await;
    assert_eq!(viewer.expect("skipped").await.data["events"], 9);
    // Another journal had more.
    let mut viewer = Viewer::open(admin(&server), "?after=77", "").await;
    let skipped = viewer.expect("skipped").await.data;
    assert_eq!(skipped, json!({ "kind": "event", "why": "other_journal" }));
    assert_eq!(viewer.expect("event").await.data["seq"], 10);
    send_many(server.public_address(), 10..11).await;
    assert_eq!(viewer.expect("event").await.data["seq"], 11);
    server.stop().await;
}
