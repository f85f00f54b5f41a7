//! The journal's files, damaged, removed, or copied by themselves.

use std::collections::BTreeSet;

use offhook::testing::{TestEvent, TestRequest};

use crate::served::{JSONL, Served, command, handled, kept, settings, until};
use crate::subscriber::Subscriber;
use crate::support::{Folder, KEY, Program, secret};

/// Each of its own conversation, so that none waits for another.
fn message(id: usize) -> TestRequest {
    let from = format!("+{id}");
    let text = format!("the text of event {id} ");
    TestEvent::message(&from, &text)
        .id(&id.to_string())
        .sign(&secret(KEY))
}

async fn send(served: &Served, ids: std::ops::Range<usize>) {
    for id in ids {
        assert_eq!(message(id).send(served.public).await.status, 200);
    }
}

/// A subscriber is down while events come, and a bit of one is flipped before it gets them.
#[actix_web::test]
async fn an_altered_body_is_never_relayed() {
    let folder = Folder::new("files-altered");
    let relay_to = |subscriber: &Subscriber| {
        let text = format!(
            "[relay]\nallow_private = true\n\
             [dispatch]\nretry = {{ first = \"50ms\", factor = 1.0, attempts = 100000 }}\n\
             [[subscriptions]]\nname = \"crm\"\nsession = \"*\"\nsecret = \"secret-of-crm\"\n\
             webhook_url = \"{}\"\n",
            subscriber.url()
        );
        settings(&folder, &text);
    };
    let down = Subscriber::start([]).await;
    down.answer(503);
    relay_to(&down);
    let served = Served::start(&folder);
    send(&served, 0..10).await;
    served.program.stop();
    let path = folder.0.join("journal/journal.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let text = b"the text of event 7 ";
    let at = bytes.windows(text.len()).position(|part| part == text);
    bytes[at.unwrap() + 3] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let subscriber = Subscriber::start([]).await;
    relay_to(&subscriber);
    let served = Served::start(&folder);
    let relayed = || BTreeSet::from_iter(subscriber.ids());
    until("all relayed", async || relayed().len() >= 9).await;
    // One more goes through, so nothing waits for the damaged one.
    send(&served, 10..11).await;
    until("the new one relayed", async || relayed().len() >= 10).await;
    let all = (0..=10).filter(|id| *id != 7);
    let all: BTreeSet<String> = all.map(|id| id.to_string()).collect();
    assert_eq!(relayed(), all);
    let metrics = TestRequest::get("/metrics").send(served.admin).await.text();
    let counted = "offhook_journal_damaged_total 1";
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
    // It may have been told before the listeners were, and then it is not in here.
    let said = served.program.kill();
    let told = said.matches("journal: damaged: event 8 (").count();
    assert!(told <= 1, "{said}");
}

/// `git clean -xfd`, or a volume that goes away.
#[actix_web::test]
async fn a_removed_folder_refuses_everything() {
    let folder = Folder::new("files-removed");
    settings(&folder, JSONL);
    let served = Served::start(&folder);
    send(&served, 0..5).await;
    let (data, away) = (folder.0.join("journal"), folder.0.join("away"));
    std::fs::rename(&data, &away).unwrap();
    for id in 5..10 {
        assert_eq!(message(id).send(served.public).await.status, 503);
    }
    assert!(!served.is_ready().await);
    // The same files are back.
    std::fs::rename(&away, &data).unwrap();
    until("ready", async || served.is_ready().await).await;
    send(&served, 5..10).await;
    until("all handled", async || handled(&folder).len() >= 10).await;
    std::fs::remove_dir_all(&data).unwrap();
    assert_eq!(message(10).send(served.public).await.status, 503);
    assert!(!served.is_ready().await);
    served.program.signal("TERM");
    let said = served.program.all_logged();
    let told = "journal.db was removed or replaced while offhook has it open";
    let lines = said.lines().filter(|line| line.contains("a write failed"));
    let lines: Vec<&str> = lines.collect();
    let is_told = !lines.is_empty() && lines.iter().all(|line| line.contains(told));
    assert!(is_told, "{said}");
}

#[actix_web::test]
async fn after_a_stop_one_file_is_the_journal() {
    let folder = Folder::new("files-alone");
    settings(&folder, JSONL);
    let served = Served::start(&folder);
    send(&served, 0..50).await;
    until("all handled", async || handled(&folder).len() >= 50).await;
    served.program.stop();
    let data = folder.0.join("journal");
    assert!(!data.join("journal.db-wal").exists());
    let alone = Folder::new("files-alone-copy");
    settings(&alone, JSONL);
    std::fs::create_dir(alone.0.join("journal")).unwrap();
    std::fs::copy(data.join("journal.db"), alone.0.join("journal/journal.db")).unwrap();
    let served = Served::start(&alone);
    let again = message(49).send(served.public).await;
    assert_eq!(again.header("offhook-duplicate"), Some("true"));
    served.program.stop();
    assert_eq!(kept(&alone).len(), 50);
}

/// After SIGKILL a page in the middle of the write-ahead log is damaged: acknowledged events are gone.
#[actix_web::test]
async fn a_log_with_a_hole_is_told() {
    let folder = Folder::new("files-hole");
    settings(&folder, JSONL);
    let served = Served::start(&folder);
    // So few that the log has not begun again.
    send(&served, 0..10).await;
    served.program.kill();
    let path = folder.0.join("journal/journal.db-wal");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let program = Program::start(&mut command(&folder));
    program.logged("journal.db-wal is damaged at byte");
    let missing = program.logged("are missing");
    assert!(missing.contains(" to 10 are missing"), "{missing}");
    program.kill();
}

/// With `retention_size` the files are no longer than that, but for what came within a moment.
#[actix_web::test]
async fn retention_size_limits_the_files() {
    let folder = Folder::new("files-size");
    settings(&folder, &format!("retention_size = \"8 MiB\"\n{JSONL}"));
    let served = Served::start(&folder);
    let long = |id: usize| {
        TestEvent::message("+1", &"x".repeat(100_000))
            .id(&id.to_string())
            .sign(&secret(KEY))
    };
    let length = || {
        let lengths = ["journal.db", "journal.db-wal"].map(|name| {
            let path = folder.0.join("journal").join(name);
            std::fs::metadata(path).map_or(0, |file| file.len())
        });
        lengths.iter().sum::<u64>()
    };
    let mut longest = 0;
    for id in 0..400 {
        assert_eq!(long(id).send(served.public).await.status, 200);
        // About 5 MB a second.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        longest = longest.max(length());
    }
    assert!(longest < 16 * 1024 * 1024, "{longest}");
    served.program.stop();
}
