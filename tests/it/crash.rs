//! What is acknowledged is kept: over SIGKILL, over a graceful stop, and whatever is in the folder.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use futures_util::future::join_all;
use offhook::testing::TestEvent;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::served::{JSONL, Served, command, handled, settings, until};
use crate::support::{DOCUMENTED, Folder, KEY, secret, signed};

#[test]
fn nothing_acknowledged_is_lost_over_thirty_kills() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    command.args([
        "verify-durability",
        "--kills",
        "30",
        "--seconds",
        "0.3",
        "--json",
    ]);
    let ran = command.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    let figures: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{said}"));
    println!("{figures}");
    assert!(ran.status.success(), "{figures} {said}");
    assert_eq!(figures["durable"], true);
    assert_eq!(figures["kills"], 30);
    for nothing in [
        "lost",
        "out_of_order",
        "kept_twice",
        "false_acknowledgements",
        "refused",
    ] {
        assert_eq!(figures[nothing], 0, "{nothing}: {figures}");
    }
    assert!(figures["acknowledged"].as_u64() > Some(100), "{figures}");
    assert!(
        figures["handled"].as_u64() >= figures["acknowledged"].as_u64(),
        "{figures}"
    );
}

/// The last server may still write when it is killed, so its folder goes after its end.
#[actix_web::test]
async fn an_interrupted_verification_leaves_nothing_behind() {
    let temporary = Folder::new("crash-interrupt");
    for _ in 0..5 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
        command.args(["verify-durability", "--seconds", "30"]);
        command.env("TMPDIR", &temporary.0).stderr(Stdio::piped());
        let ran = command.spawn().unwrap();
        let loaded = async || {
            let runs = std::fs::read_dir(&temporary.0).unwrap();
            let mut files = runs.map(|run| run.unwrap().path().join("handled.jsonl"));
            files.any(|file| std::fs::metadata(file).is_ok_and(|file| file.len() > 0))
        };
        until("loaded", loaded).await;
        kill_process(Pid::from_child(&ran), Signal::INT).unwrap();
        let ran = ran.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{said}");
        assert!(said.contains("its folder removed"), "{said}");
        assert_eq!(std::fs::read_dir(&temporary.0).unwrap().count(), 0);
    }
}

/// A message of conversation `from` that carries its id.
fn message(from: usize, id: usize) -> offhook::testing::TestRequest {
    TestEvent::message(&from.to_string(), "Hello!")
        .id(&id.to_string())
        .sign(&secret(KEY))
}

#[actix_web::test]
async fn a_stop_during_work_repeats_nothing() {
    let folder = Folder::new("crash-stop");
    let slow = r#"
[[handlers]]
name = "slow"
use = "exec"
command = ["sh", "-c", "sleep 0.1; echo $OFFHOOK_ID >> ids"]
concurrency = 4
"#;
    settings(&folder, slow);
    let ids = || -> Vec<String> {
        let text = std::fs::read_to_string(folder.0.join("ids")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };

    let served = Served::start(&folder);
    let (next, acknowledged) = (Cell::new(0), Cell::new(0));
    // Eight conversations go on until the server no longer answers.
    let send = async |from: usize| {
        loop {
            let id = next.replace(next.get() + 1);
            match served.try_send(&message(from, id)).await {
                Some(answer) if answer.status == 200 => acknowledged.set(acknowledged.get() + 1),
                Some(answer) => panic!("{answer:?}"),
                None => return,
            }
            // Faster than the handler, and not a flood.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let stop = async {
        until("at work", async || !ids().is_empty()).await;
        served.program.signal("TERM");
    };
    futures_util::future::join(join_all((0..8).map(send)), stop).await;
    let acknowledged = acknowledged.get();
    assert!(served.program.wait().success());
    let before = ids().len();
    assert!(
        0 < before && before < acknowledged,
        "{before} of {acknowledged}"
    );

    let served = Served::start(&folder);
    until("all handled", async || ids().len() >= acknowledged).await;
    served.program.stop();

    // Would anything be handed over again, it would be before this.
    let served = Served::start(&folder);
    let last = served.try_send(&message(0, usize::MAX)).await.unwrap();
    assert_eq!(last.status, 200);
    until("the last one handled", async || ids().len() > acknowledged).await;
    served.program.stop();
    let ids = ids();
    let different: BTreeSet<_> = ids.iter().collect();
    assert_eq!(
        (ids.len(), different.len()),
        (acknowledged + 1, acknowledged + 1)
    );
}

#[actix_web::test]
async fn documented_events_survive_a_kill_and_stay_known() {
    let folder = Folder::new("crash-documented");
    settings(&folder, JSONL);
    let served = Served::start(&folder);
    for body in DOCUMENTED {
        let answer = signed(body).send(served.public).await;
        assert_eq!(
            (answer.status, answer.header("offhook-duplicate")),
            (200, None)
        );
    }
    served.program.kill();

    let served = Served::start(&folder);
    let events = || -> BTreeSet<String> {
        let text = std::fs::read_to_string(folder.0.join("handled.jsonl")).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.map(|line| line["body"].to_string()).collect()
    };
    let expected: BTreeSet<String> = DOCUMENTED
        .map(|body| serde_json::from_str::<Value>(body).unwrap().to_string())
        .into();
    until("all handled", async || events() == expected).await;
    for body in DOCUMENTED {
        let answer = signed(body).send(served.public).await;
        assert_eq!(
            (answer.status, answer.header("offhook-duplicate")),
            (200, Some("true"))
        );
    }
    served.program.stop();
    assert_eq!(events(), expected);
}

#[actix_web::test]
async fn one_server_has_the_journal() {
    let folder = Folder::new("crash-second");
    settings(&folder, JSONL);
    let first = Served::start(&folder);
    let said = Served::try_start(&mut command(&folder)).err().unwrap();
    assert!(
        said.contains("another offhook has this journal open"),
        "{said}"
    );
    assert!(said.contains("journal.path"), "{said}");
    // The first one is none the worse for it.
    let sent = signed(DOCUMENTED[0]).send(first.public).await;
    assert_eq!(sent.status, 200);
    first.program.stop();
    // And leaves it to the next.
    Served::start(&folder).program.stop();
}

/// The pages of a journal.
const PAGE: usize = 16 * 1024;

#[actix_web::test]
async fn a_damaged_journal_is_refused_and_unchanged() {
    let folder = Folder::new("crash-damaged");
    settings(&folder, JSONL);
    let served = Served::start(&folder);
    for id in 0..20 {
        assert_eq!(message(0, id).send(served.public).await.status, 200);
    }
    until("all handled", async || handled(&folder).len() == 20).await;
    served.program.stop();
    let path = folder.0.join("journal/journal.db");
    // Brings the WAL into the file, so that all there is to damage is in it.
    let database = rusqlite::Connection::open(&path).unwrap();
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    database.query_row(checkpoint, [], |_| Ok(())).unwrap();
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'blocks'";
    let root: usize = database.query_row(root, [], |row| row.get(0)).unwrap();
    drop(database);
    let sound = std::fs::read(&path).unwrap();
    let noise: Vec<u8> = (0..sound.len()).map(|at| (at * 31 % 251) as u8).collect();
    let table = |from: usize| {
        let mut bytes = sound.clone();
        bytes[from..][..PAGE].copy_from_slice(&noise[..PAGE]);
        bytes
    };
    let all = RefCell::new(Vec::new());
    for (what, bytes) in [
        ("noise", noise.clone()),
        ("a text", b"This is no database.".repeat(1000)),
        ("a damaged beginning", table(0)),
        ("a damaged table", table((root - 1) * PAGE)),
        ("half of it", sound[..sound.len() / 2].to_vec()),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let said = Served::try_start(&mut command(&folder)).err();
        let said = said.unwrap_or_else(|| panic!("{what}: it starts"));
        assert!(said.contains("journal is damaged"), "{what}: {said}");
        assert!(said.contains("offhook journal salvage"), "{what}: {said}");
        assert!(
            std::fs::read(&path).unwrap() == bytes,
            "{what}: it was changed"
        );
        all.borrow_mut().push(said);
    }
    // Repaired, it goes on.
    std::fs::write(&path, &sound).unwrap();
    let served = Served::start(&folder);
    let again = message(0, 0).send(served.public).await;
    assert_eq!(again.header("offhook-duplicate"), Some("true"));
    served.program.stop();
}
