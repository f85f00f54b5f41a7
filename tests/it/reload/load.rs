//! Many reloads while requests come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use offhook::clock::{Clock as _, SystemClock};
use offhook::testing::TestEvent;
use serde_json::json;

use super::{NEW, OLD, Reloaded};
use crate::support::{Raw, secret};

/// Reloads that change a secret, a limit, a handler and all consumers, on connections that stay open; each request is
/// signed with the secret that is always good, and each third with one that is never good. `OFFHOOK_RELOADS=1000` has
/// more of them. It sends as fast as this process can, and prints how fast that is; `offhook-bench send --rate` sends
/// 20,000 a second to a server that is built for speed.
#[actix_web::test]
async fn no_request_is_dropped_by_reloads() {
    let reloads = std::env::var("OFFHOOK_RELOADS").map_or(50, |count| count.parse().unwrap());
    let it = Reloaded::start("reload-load", "").await;
    let to = it.server.public_address();
    let stop = Arc::new(AtomicBool::new(false));
    let (good, bad) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let senders = (0..4).map(|sender| {
        let (stop, good, bad) = (Arc::clone(&stop), Arc::clone(&good), Arc::clone(&bad));
        actix_web::rt::spawn(async move {
            let mut raw = Raw::connect(to).await;
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                let event = TestEvent::message("+1", "hello").id(&format!("{sender}-{number}"));
                if number % 3 == 0 {
                    let forged = event.sign(&secret("a-secret-that-nobody-has"));
                    assert_eq!(forged.send(to).await.status, 401);
                    bad.fetch_add(1, Ordering::Relaxed);
                } else {
                    raw.send(event.sign(&secret(OLD)).bytes()).await;
                    assert_eq!(raw.answer().await.status, 200);
                    good.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    });
    let senders: Vec<_> = senders.collect();
    let started = SystemClock.monotonic();
    for number in 0..reloads {
        let (old, new) = match number % 4 {
            0 => (format!("\"{OLD}\""), format!("\"{OLD}\", \"{NEW}\"")),
            1 => (
                "[server]".to_owned(),
                "[server]\nmax_body = \"2 MiB\"".to_owned(),
            ),
            2 => (
                "[[handlers]]".to_owned(),
                "[[handlers]]\ntimeout = \"9s\"".to_owned(),
            ),
            _ => (
                "[journal]".to_owned(),
                "[dispatch]\nconcurrency = 9\n[journal]".to_owned(),
            ),
        };
        it.write(&old, &new);
        let (status, answer) = it.ask("POST", "/api/reload", &json!({})).await;
        assert_eq!(status, 200, "{answer}");
    }
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.await.unwrap();
    }
    let (good, bad) = (good.load(Ordering::Relaxed), bad.load(Ordering::Relaxed));
    let took = (SystemClock.monotonic() - started).as_secs_f64();
    let rate = (good + bad) as f64 / took;
    println!("{reloads} reloads in {took:.1} s, {rate:.0} requests/s");
    assert!(good > 0 && bad > 0);
    // Each event was handled once, in spite of all changes of its handler.
    crate::served::until("all are handled", async || {
        let text = std::fs::read_to_string(it.path("handled.jsonl")).unwrap_or_default();
        text.lines().count() >= good
    })
    .await;
    let text = std::fs::read_to_string(it.path("handled.jsonl")).unwrap();
    assert_eq!(text.lines().count(), good);
    it.stop().await;
}
