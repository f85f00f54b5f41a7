//! A server that has nothing to do wakes up as seldom after somebody has watched it as before.

use std::collections::HashMap;
use std::time::Duration;

use offhook::testing::TestRequest;

use crate::served::{JSONL, Served, settings};
use crate::stream::viewer::Viewer;
use crate::support::{DOCUMENTED, Folder, signed};

/// How often each thread of the process has been woken.
fn wakes(process: u32) -> HashMap<std::ffi::OsString, u64> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let of_thread = |thread: std::io::Result<std::fs::DirEntry>| {
        let thread = thread.ok()?;
        let status = std::fs::read_to_string(thread.path().join("status")).ok()?;
        let mut lines = status.lines();
        let line = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        Some((thread.file_name(), line.trim().parse().ok()?))
    };
    threads.filter_map(of_thread).collect()
}

/// How often they are woken in a while.
async fn count(served: &Served) -> u64 {
    let before = wakes(served.program.id());
    tokio::time::sleep(WATCH).await;
    let after = wakes(served.program.id());
    let more = after.iter().filter_map(|(thread, count)| {
        let before = before.get(thread)?;
        Some(count.saturating_sub(*before))
    });
    more.sum()
}

const WATCH: Duration = Duration::from_secs(2);

/// actix-http wakes each worker twice a second; that varies by a few. A timer of half a second is found.
const MORE: u64 = 3;

#[actix_web::test]
async fn nobody_watches_for_nothing() {
    let folder = Folder::new("idle");
    settings(&folder, JSONL);
    let served = Served::start(&folder);
    let sent = signed(DOCUMENTED[0]).send(served.public).await;
    assert_eq!(sent.status, 200);
    let mut before = u64::MAX;
    for _ in 0..3 {
        before = before.min(count(&served).await);
    }
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
    let mut counts = Vec::new();
    while counts.len() < 10 {
        counts.push(count(&served).await);
        if counts.last() <= Some(&(before + MORE)) {
            return;
        }
    }
    panic!("in {WATCH:?} it woke up {before} times before, and then {counts:?} times");
}
