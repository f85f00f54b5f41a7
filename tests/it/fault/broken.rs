//! A panic of the journal's thread ends the server, and says so: it could store nothing any more.

use super::disk::{compile, wait};
use crate::served::{JSONL, Served, command, handled, settings, until};
use crate::support::Folder;

#[test]
fn a_panic_of_the_journal_ends_the_server() {
    let folder = Folder::new("broken");
    let library = compile(&folder, "tests/it/fault/no_time.c");
    settings(&folder, JSONL);
    let trigger = folder.0.join("no-time");
    let mut command = command(&folder);
    command
        .env("LD_PRELOAD", library)
        .env("OFFHOOK_NO_TIME_FILE", &trigger)
        .env("OFFHOOK_NO_TIME_THREAD", "offhook-journal");
    let served = Served::try_start(&mut command).unwrap();
    wait(async {
        let stored = served.try_send(&super::message(0)).await.unwrap();
        assert_eq!(stored.status, 200);
        std::fs::write(&trigger, "").unwrap();
        // It is not acknowledged, whatever the connection does.
        let lost = served.try_send(&super::message(1)).await;
        assert!(lost.is_none_or(|answer| answer.status == 503));
    });
    let said = served.program.all_logged();
    let status = served.program.wait();
    assert_eq!(status.code(), Some(70), "{said}");
    assert!(said.contains("'offhook-journal'"), "{said}");
    let told = "error: the journal's thread has panicked, and nothing can be stored any more";
    assert!(said.contains(told), "{said}");

    // What was acknowledged is there after the next start.
    let served = Served::start(&folder);
    wait(async {
        for (id, known) in [(0, Some("true")), (1, None)] {
            let answer = served.try_send(&super::message(id)).await.unwrap();
            let duplicate = answer.header("offhook-duplicate");
            assert_eq!((answer.status, duplicate), (200, known));
        }
        until("all handled", async || handled(&folder).len() >= 2).await;
    });
    served.program.stop();
}
