//! A disk that is full: nothing is acknowledged that is not kept, and all goes on when there is room.

use std::process::Command;
use std::time::Duration;

use offhook::clock::{Clock as _, SystemClock};
use offhook::testing::{TestEvent, TestRequest};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::served::{JSONL, Served, handled, kept, settings, until, within};
use crate::support::{Folder, KEY, secret};

fn message(id: usize) -> TestRequest {
    TestEvent::message("+1", &"x".repeat(2_000))
        .id(&id.to_string())
        .sign(&secret(KEY))
}

#[actix_web::test]
async fn a_full_disk_refuses_what_it_cannot_keep() {
    let folder = Folder::new("full-disk");
    settings(&folder, JSONL);
    let served = started_with_a_limit(&folder);
    let mut acknowledged = fill(&served).await;
    assert!(!served.is_ready().await);

    // There is room again, and nobody needs to say so.
    lift_the_limit(&served);
    until("ready", async || served.is_ready().await).await;
    for _ in 0..10 {
        let answer = message(acknowledged).send(served.public).await;
        assert_eq!(
            (answer.status, answer.header("offhook-duplicate")),
            (200, None)
        );
        acknowledged += 1;
    }
    let said = served.program.kill();
    assert!(!said.contains("panicked"), "{said}");
    nothing_is_lost(&folder, acknowledged).await;
}

/// A server whose files cannot grow past 256 KiB (512 where `sh` counts in kilobytes): the WAL first,
/// which is emptied then, later the database, and the handler's own file.
fn started_with_a_limit(folder: &Folder) -> Served {
    let mut sh = Command::new("sh");
    sh.args(["-c", "ulimit -S -f 512 && exec \"$0\" \"$@\""]);
    sh.arg(env!("CARGO_BIN_EXE_offhook"));
    Served::try_start(&mut within(folder, sh)).unwrap()
}

/// Sends messages until the server has refused all of them for some time. Returns how many it has
/// acknowledged.
async fn fill(served: &Served) -> usize {
    let (mut acknowledged, mut refused) = (0, 0);
    let mut full_since = None;
    while full_since.is_none_or(|since| SystemClock.monotonic() - since < FULL) {
        let answer = served.try_send(&message(acknowledged)).await;
        let answer = answer.expect("it lives on");
        match answer.status {
            200 => {
                assert_eq!(answer.header("offhook-duplicate"), None);
                acknowledged += 1;
                full_since = None;
                assert!(acknowledged < 2_000, "the disk is never full");
            }
            503 => {
                assert!(answer.header("retry-after").is_some());
                refused += 1;
                full_since.get_or_insert(SystemClock.monotonic());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            _ => panic!("{answer:?}"),
        }
    }
    println!("full after {acknowledged} messages, {refused} answers 503");
    assert!(acknowledged > 50 && refused > 0);
    acknowledged
}

fn lift_the_limit(served: &Served) {
    let pid = Pid::from_raw(served.program.id().cast_signed());
    let none = Rlimit {
        current: None,
        maximum: None,
    };
    prlimit(pid, Resource::Fsize, none).unwrap();
}

/// After a new start, every message is known, kept once, and handled in its order.
async fn nothing_is_lost(folder: &Folder, acknowledged: usize) {
    let served = Served::start(folder);
    for id in 0..acknowledged {
        let answer = message(id).send(served.public).await;
        assert_eq!(answer.header("offhook-duplicate"), Some("true"), "{id}");
    }
    let expected: Vec<_> = (0..acknowledged).map(|id| id.to_string()).collect();
    until("all handled", async || {
        let handled = handled(folder);
        expected.iter().all(|id| handled.contains(id))
    })
    .await;
    served.program.stop();
    assert_eq!(kept(folder), expected);
    let mut first = Vec::new();
    for id in handled(folder) {
        if !first.contains(&id) {
            first.push(id);
        }
    }
    assert_eq!(first, expected);
}

/// Longer than a journal that has failed waits before it tries again.
const FULL: Duration = Duration::from_secs(3);
