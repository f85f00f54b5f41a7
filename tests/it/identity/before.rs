//! Journals that earlier versions wrote: they open, their events are there, and their retries are
//! duplicates.
//!
//! The files are journals of those programs, each of the three documented events, a message in gzip
//! (`PACKED`) and one event without a kind, which they received on 26 November 2026 at 15:26 UTC.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::GzDecoder;
use offhook::settings::{JournalSettings, SqliteSettings};
use offhook::testing::{FakeClock, Recorder};
use offhook::{Offhook, Server, Timestamp, testing};

use super::{DUPLICATE, NEW, event, events, gzip, sent};
use crate::support::{Folder, signed, source};

const VERSIONS: [(&str, &[u8]); 2] = [
    ("2", include_bytes!("version-2.db.gz")),
    ("4", include_bytes!("version-4.db.gz")),
];

const KEPT: [&str; 5] = [
    r#"{"event":"message","sessionId":"s","messageId":"M1","from":"+1","message":"Hello!","type":"text","timestamp":"2025-01-08T12:00:00.000Z"}"#,
    r#"{"event":"status","sessionId":"s","messageId":"M1","status":"read","timestamp":"2025-01-08T12:00:00.000Z"}"#,
    r#"{"event":"connection","sessionId":"s","status":"connected","timestamp":"2025-01-08T12:00:00.000Z"}"#,
    r#"{"event":"message","sessionId":"s","messageId":"M2","from":"+1","message":"packed"}"#,
    r#"{"event":"presence","n":1}"#,
];

#[actix_web::test]
async fn journals_of_earlier_versions_open() {
    for (version, packed) in VERSIONS {
        let folder = Folder::new(&format!("identity-version-{version}"));
        let journal = folder.0.join("journal");
        std::fs::create_dir_all(&journal).unwrap();
        let mut file = Vec::new();
        GzDecoder::new(packed).read_to_end(&mut file).unwrap();
        std::fs::write(journal.join("journal.db"), file).unwrap();

        let received: Timestamp = "2026-11-26T15:26:20Z".parse().unwrap();
        let clock = Arc::new(FakeClock::new(received));
        // The second time it is a journal of this version.
        for start in 0..2 {
            check(&folder, &clock, start).await;
        }
        clock.advance(Duration::from_secs(3600));
        let (server, _) = serve(&folder, &clock).await;
        let to = server.public_address();
        // Their windows hold as long as they did: what has no id is new.
        for (body, expected) in KEPT.iter().zip([DUPLICATE, DUPLICATE, NEW, DUPLICATE, NEW]) {
            assert_eq!(sent(&signed(*body), to).await, expected, "{version} {body}");
        }
        server.stop().await;
    }
}

async fn serve(folder: &Folder, clock: &Arc<FakeClock>) -> (Server, Recorder) {
    let recorder = Recorder::default();
    let mut sqlite = SqliteSettings::new(folder.0.join("journal"));
    sqlite.retention = Duration::from_secs(7 * 24 * 3600);
    let offhook = Offhook::builder()
        .source(source())
        .journal(JournalSettings::Sqlite(sqlite))
        .clock(Arc::clone(clock) as _)
        .handler("recorder", recorder.clone());
    (testing::start(offhook).await, recorder)
}

async fn check(folder: &Folder, clock: &Arc<FakeClock>, start: usize) {
    let (server, _) = serve(folder, clock).await;
    let to = server.public_address();
    let per_start = KEPT.len() + 5;
    let listed = events(&server, KEPT.len() + start * per_start).await;
    let kinds: Vec<_> = listed
        .iter()
        .take(KEPT.len())
        .map(|event| &event["event"])
        .collect();
    assert_eq!(
        kinds,
        ["message", "status", "connection", "message", "unknown"]
    );
    let one = event(&server, &listed[0]).await;
    assert_eq!(
        one["body"],
        serde_json::from_str::<serde_json::Value>(KEPT[0]).unwrap()
    );

    for body in KEPT {
        assert_eq!(sent(&signed(body), to).await, DUPLICATE, "{start} {body}");
    }
    // With another time and another order of fields; packed otherwise.
    let later = KEPT[0].replace("2025-01-08", "2026-11-26");
    let turned = r#"{"status":"read","messageId":"M1","sessionId":"s","event":"status"}"#;
    for body in [&*later, turned] {
        assert_eq!(sent(&signed(body), to).await, DUPLICATE, "{start} {body}");
    }
    let packed = signed(gzip(KEPT[3])).header("Content-Encoding", "gzip");
    assert_eq!(sent(&packed, to).await, DUPLICATE);
    // What an earlier version took for the same is new now.
    let edited = KEPT[0].replace("Hello!", "Edited");
    let receipt = KEPT[1].replace("\"read\"", "\"read\",\"participant\":\"+2\"");
    let expected = if start == 0 { NEW } else { DUPLICATE };
    for body in [edited, receipt] {
        assert_eq!(
            sent(&signed(body.as_str()), to).await,
            expected,
            "{start} {body}"
        );
    }
    events(&server, KEPT.len() + (start + 1) * per_start).await;
    server.stop().await;
}
