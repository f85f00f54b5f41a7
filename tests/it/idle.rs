//! A server that has nothing to do wakes up for nothing, also after somebody has watched it.

use std::time::Duration;

use offhook::testing::TestRequest;

use crate::served::{JSONL, Served, settings};
use crate::stream::viewer::Viewer;
use crate::support::{DOCUMENTED, Folder, signed};

/// How often threads of the process have been woken.
fn wakes(process: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let of_thread = |thread: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    };
    threads.filter_map(of_thread).sum()
}

/// That there comes a time in which nothing is done. A timer of a second leaves none.
async fn expect_rest(served: &Served, when: &str) {
    let mut counts = Vec::new();
    while counts.len() < 15 {
        let before = wakes(served.program.id());
        tokio::time::sleep(WATCH).await;
        let count = wakes(served.program.id()).saturating_sub(before);
        if count <= MOST {
            return;
        }
        counts.push(count);
    }
    panic!("{when} it has no rest; so often it woke up in {WATCH:?} each: {counts:?}");
}

const WATCH: Duration = Duration::from_secs(2);

/// Something that happens once may happen in it.
const MOST: u64 = 1;

#[actix_web::test]
async fn nobody_watches_for_nothing() {
    let folder = Folder::new("idle");
    settings(&folder, JSONL);
    let served = Served::start(&folder);
    let sent = signed(DOCUMENTED[0]).send(served.public).await;
    assert_eq!(sent.status, 200);
    expect_rest(&served, "before anybody has watched").await;
    let mut viewers = Vec::new();
    for query in ["", "?kinds=event,state", "?kinds=refused", "?complete=true"] {
        viewers.push(Viewer::open(served.admin, query, "").await);
    }
    let sent = signed(DOCUMENTED[1]).send(served.public).await;
    assert_eq!(sent.status, 200);
    viewers[0].expect("event").await;
    for path in ["/ui/now", "/ui/events", "/api/stats"] {
        if cfg!(feature = "dashboard") || path.starts_with("/api") {
            let answer = TestRequest::get(path).send(served.admin).await;
            assert_eq!(answer.status, 200, "{path}");
        }
    }
    drop(viewers);
    expect_rest(&served, "after somebody has watched").await;
}
