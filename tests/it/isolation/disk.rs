//! The disk: what waits is not written over and over, and a slow sync delays no delivery.

use std::net::TcpListener;
use std::time::Duration;

use futures_util::future::join;
use offhook::clock::{Clock as _, SystemClock};

use super::ALONE;
use super::crm::Crm;
use super::load::{Others, feed, number, shown, until_at_least, wal, written};
use crate::fault::slow::SlowDisk;
use crate::served::{Served, settings};
use crate::support::{Folder, ask};

#[actix_web::test]
async fn waiting_retries_write_nothing() {
    let _alone = ALONE.lock().await;
    let retries = number("OFFHOOK_ISOLATION_RETRIES", 5_000);
    let folder = Folder::new("isolation-retries");
    settings(&folder, &dead_subscriber("1h"));
    let served = Served::start(&folder);
    let mut largest = 0;
    let all_wait = until_at_least("retries that wait", retries, async || {
        largest = wal(&folder).max(largest);
        waiting(&served).await
    });
    // Each has its own conversation, so none waits behind another.
    join(feed(&served, "dead", 0..retries, retries), all_wait).await;
    tokio::time::sleep(LAST_SAVES).await;
    let (before, started) = (written(&served), SystemClock.monotonic());
    tokio::time::sleep(QUIET).await;
    let seconds = (SystemClock.monotonic() - started).as_secs_f64();
    let bytes = (written(&served) - before) as f64 / seconds;
    largest = wal(&folder).max(largest);
    println!(
        "{retries} wait, {} of them in the journal only: {bytes:.0} bytes/s written, WAL at most \
         {largest} bytes",
        shown(&served, "overflowed").await
    );
    assert_eq!(waiting(&served).await, retries);
    assert!(bytes < 1024.0, "{bytes} bytes/s");
    assert!(largest <= 32 << 20, "{largest} bytes of WAL");
    served.program.stop();
}

/// How many events wait for a retry, or in the journal until there is room for them.
async fn waiting(served: &Served) -> usize {
    shown(served, "retrying").await + shown(served, "overflowed").await
}

/// A subscription whose subscriber refuses connections.
fn dead_subscriber(pause: &str) -> String {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    format!(
        "[relay]\nallow_private = true\n[dispatch]\n\
         retry = {{ first = \"{pause}\", max = \"{pause}\", attempts = 100 }}\n\
         [[subscriptions]]\nname = \"dead\"\nsession = \"*\"\nwebhook_url = \"http://{address}/\"\n"
    )
}

/// Slices with and without the delay take turns, so that what else the machine does harms both.
#[actix_web::test]
async fn a_slow_disk_slows_no_delivery() {
    let _alone = ALONE.lock().await;
    let (folder, disk) = (Folder::new("isolation-slow"), SlowDisk::new("slow-disk"));
    let crm = Crm::start();
    crm.takes(Duration::from_millis(20));
    let relay = "[relay]\nallow_private = true\n[dispatch]\nconcurrency = 20\n";
    settings(&folder, &format!("{relay}{}", crm.subscription()));
    let served = Served::try_start(&mut disk.server(&folder)).unwrap();
    pause(&served, "pause").await;
    feed(&served, "slow", 0..BACKLOG, BACKLOG).await;
    pause(&served, "resume").await;
    until_at_least("delivered", 500, async || crm.accepted("slow")).await;

    let (mut with, mut without) = (0.0, 0.0);
    for _ in 0..SLICES {
        without += rate(&crm).await;
        disk.set(DELAY);
        with += rate(&crm).await;
        disk.set(Duration::ZERO);
    }
    assert!(
        crm.accepted("slow") < BACKLOG,
        "nothing was left to deliver"
    );
    let percent = 100.0 * with / without;
    let slices = SLICES as f64;
    println!(
        "{:.0} deliveries/s, {:.0} with a sync of {DELAY:?}: {percent:.0} %",
        without / slices,
        with / slices
    );
    let wanted = number("OFFHOOK_ISOLATION_RATIO", 50);
    assert!(percent >= wanted as f64, "{percent} %");
    // The delay is real.
    disk.set(DELAY);
    let started = SystemClock.monotonic();
    feed(&served, "late", 0..1, 1).await;
    assert!(SystemClock.monotonic() - started >= DELAY);
    disk.set(Duration::ZERO);
    Others::default().go_on("at the end", &served, &crm).await;
    served.program.stop();
    assert_eq!(crm.of("slow", |seen| seen.twice), 0);
}

async fn pause(served: &Served, how: &str) {
    let path = format!("/api/consumers/subscription:*:crm/{how}");
    let (status, answer) = ask(served.admin, "POST", &path, "").await;
    assert_eq!(status, 200, "{answer}");
}

/// Deliveries a second for a while.
async fn rate(crm: &Crm) -> f64 {
    let (before, started) = (crm.accepted("slow"), SystemClock.monotonic());
    tokio::time::sleep(SLICE).await;
    let seconds = (SystemClock.monotonic() - started).as_secs_f64();
    (crm.accepted("slow") - before) as f64 / seconds
}

/// More than can be delivered in all slices.
const BACKLOG: usize = 15_000;

const SLICES: usize = 3;

const SLICE: Duration = Duration::from_secs(2);

const DELAY: Duration = Duration::from_millis(500);

/// By then everything is saved that can be.
const LAST_SAVES: Duration = Duration::from_secs(7);

const QUIET: Duration = Duration::from_secs(10);
