//! `offhook journal`: backup, verify and salvage, beside a server that runs and after it.

use std::cell::Cell;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use futures_util::future::join_all;
use offhook::testing::{TestEvent, TestRequest};

use crate::served::{Served, settings};
use crate::support::{Folder, KEY, Ran, offhook, run, secret};

fn message(id: usize) -> TestRequest {
    let event = TestEvent::message(&(id % 10).to_string(), &"Hello! ".repeat(100));
    event.id(&id.to_string()).sign(&secret(KEY))
}

/// Runs `offhook journal` in a folder, on a thread of its own.
async fn journal(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = offhook(&[&["journal"], arguments].concat());
    command.current_dir(folder);
    let ran = tokio::task::spawn_blocking(move || command.output().unwrap());
    ran.await.unwrap().into()
}

/// Appends messages with these ids.
async fn send(served: &Served, ids: std::ops::Range<usize>) {
    let all: Vec<TestRequest> = ids.map(message).collect();
    for some in all.chunks(50) {
        for answer in join_all(some.iter().map(|one| one.send(served.public))).await {
            assert_eq!(answer.status, 200);
        }
    }
}

#[actix_web::test]
async fn a_backup_under_load_can_be_started() {
    let folder = Folder::new("journal-backup");
    settings(&folder, "");
    let served = Served::start(&folder);
    send(&served, 0..500).await;
    let sent = Cell::new(500);
    let done = Cell::new(false);
    let load = async {
        while !done.get() {
            send(&served, sent.get()..sent.get() + 50).await;
            sent.set(sent.get() + 50);
        }
    };
    let copies = async {
        for name in ["one", "two"] {
            let before = sent.get() as u64;
            let copied = journal(&folder.0, &["backup", name, "--json"]).await;
            assert_eq!(copied.status, 0, "{copied:?}");
            assert!(
                copied.json()["events"].as_u64() >= Some(before),
                "{copied:?}"
            );
            let beside = journal(&folder.0, &["verify", "--json"]).await;
            assert_eq!(beside.status, 0, "{beside:?}");
        }
        done.set(true);
    };
    futures_util::future::join(load, copies).await;
    let open = journal(&folder.0, &["salvage", "three"]).await;
    assert_eq!(open.status, 1, "{open:?}");
    assert!(open.said.contains("stop it first"), "{open:?}");
    served.program.stop();
    for name in ["one", "two"] {
        let whole = journal(&folder.0, &["verify", name, "--json"]).await;
        assert_eq!(whole.status, 0, "{whole:?}");
        let restored = Folder::new(&format!("journal-restored-{name}"));
        settings(&restored, "");
        std::fs::rename(folder.0.join(name), restored.0.join("journal")).unwrap();
        let served = Served::start(&restored);
        let again = message(499).send(served.public).await;
        assert!(again.header("offhook-duplicate").is_some());
        served.program.stop();
    }
}

#[actix_web::test]
async fn a_damaged_journal_is_told_and_saved() {
    let folder = Folder::new("journal-salvage");
    settings(&folder, "");
    let served = Served::start(&folder);
    send(&served, 0..500).await;
    served.program.stop();
    let whole = journal(&folder.0, &["verify"]).await;
    assert_eq!(whole.status, 0, "{whole:?}");
    assert!(whole.printed.contains("nothing is damaged"), "{whole:?}");
    let path = folder.0.join("journal/journal.db");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let place = file.metadata().unwrap().len() / 2;
    file.write_all_at(&[0x5a; 20_000], place).unwrap();
    let before = std::fs::read(&path).unwrap();
    let damaged = journal(&folder.0, &["verify", "--json"]).await;
    assert_eq!(damaged.status, 1, "{damaged:?}");
    let facts = damaged.json();
    let named = |one: &serde_json::Value| one["first"].is_u64();
    assert!(
        facts["damaged"].as_array().unwrap().iter().any(named),
        "{facts}"
    );
    let told = journal(&folder.0, &["verify", "journal"]).await;
    assert!(
        told.printed.contains("offhook journal salvage DEST"),
        "{told:?}"
    );
    let saved = journal(&folder.0, &["salvage", "journal", "saved", "--json"]).await;
    assert_eq!(saved.status, 1, "{saved:?}");
    let facts = saved.json();
    let lost =
        |range: &serde_json::Value| range[1].as_u64().unwrap() - range[0].as_u64().unwrap() + 1;
    let lost: u64 = facts["lost"].as_array().unwrap().iter().map(lost).sum();
    assert_eq!(facts["events"].as_u64().unwrap() + lost, 500, "{facts}");
    assert!((1..200).contains(&lost), "{facts}");
    assert!(std::fs::read(&path).unwrap() == before);
    let restored = Folder::new("journal-saved");
    settings(&restored, "");
    std::fs::rename(folder.0.join("saved"), restored.0.join("journal")).unwrap();
    let served = Served::start(&restored);
    send(&served, 500..510).await;
    served.program.stop();
    let noted = journal(&restored.0, &["verify"]).await;
    assert_eq!(noted.status, 0, "{noted:?}");
    assert!(
        noted.printed.contains(": lost before, and noted"),
        "{noted:?}"
    );
    assert!(
        noted.printed.contains("nothing is damaged since"),
        "{noted:?}"
    );
}

#[test]
fn what_is_no_journal_is_a_usage_error() {
    let folder = Folder::new("journal-none");
    let path = folder.0.display().to_string();
    let dest = folder.0.join("dest").display().to_string();
    for arguments in [
        vec!["journal", "verify", &path],
        vec!["journal", "backup", &path, &dest],
        vec!["journal", "salvage", &path, &dest],
        vec!["journal", "backup"],
        vec!["journal"],
    ] {
        let ran = run(&arguments);
        assert_eq!(ran.status, 2, "{ran:?}");
    }
    assert!(!folder.0.join("dest").exists());
    // A relative path is of the folder in which the command runs; the message says which.
    let file = folder.0.join("settings.toml");
    std::fs::write(&file, "[journal]\npath = \"nowhere\"\n").unwrap();
    let ran = run(&["journal", "verify", "--settings", file.to_str().unwrap()]);
    let place = std::env::current_dir().unwrap().join("nowhere");
    let said = format!("error: {}: there is no journal", place.display());
    assert!(ran.status == 2 && ran.said.contains(&said), "{ran:?}");
}
