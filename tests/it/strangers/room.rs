//! Row B4: bodies of strangers do not use up the room of those with a secret.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::Runtime;

use super::ALONE;
use crate::attack::bodies::{dense_text, gzip, made_up_head, message, padded};
use crate::attack::sockets::{
    HANG, HOME, OWN_SECRET, connect, elsewhere, peak_memory, read_all, settings, status,
};
use crate::served::{Served, until};
use crate::support::{Folder, signed};

/// Strangers that send the same again and again, on threads of their own, until this is dropped.
struct Strangers {
    runtime: Option<Runtime>,
    has_sent: Arc<AtomicBool>,
}

impl Strangers {
    /// On so many connections, from these addresses in turn.
    fn start(to: SocketAddr, count: usize, from: &[Ipv4Addr], bytes: Vec<u8>) -> Self {
        Self::start_with(to, count, from, bytes, false)
    }

    /// As [`Strangers::start`]. With `goes_on` each then goes on faster than `min_body_rate`.
    fn start_with(
        to: SocketAddr,
        count: usize,
        from: &[Ipv4Addr],
        bytes: Vec<u8>,
        goes_on: bool,
    ) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let (bytes, has_sent) = (Arc::new(bytes), Arc::<AtomicBool>::default());
        for number in 0..count {
            let from = from[number % from.len()];
            let (bytes, has_sent) = (Arc::clone(&bytes), Arc::clone(&has_sent));
            runtime.spawn(async move {
                loop {
                    let Ok(mut stream) = connect(from, to).await else {
                        tokio::task::yield_now().await;
                        continue;
                    };
                    // It fails for a body that has to give way.
                    let _ = stream.write_all(&bytes).await;
                    has_sent.store(true, Ordering::Relaxed);
                    while goes_on && stream.write_all(&[b'A'; 16 * KIB]).await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                    // Until its time is over, or it had to give way.
                    read_all(&mut stream, 2 * HANG).await;
                }
            });
        }
        Self {
            runtime: Some(runtime),
            has_sent,
        }
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A body of which all is sent but the last byte.
fn unfinished(bytes: usize) -> Vec<u8> {
    let head = made_up_head(&format!("Content-Length: {bytes}\r\n"));
    [head.into_bytes(), vec![b'A'; bytes - 1]].concat()
}

/// A whole body.
fn whole(bytes: usize) -> Vec<u8> {
    let head = made_up_head(&format!("Content-Length: {bytes}\r\n"));
    [head.into_bytes(), vec![b'A'; bytes]].concat()
}

/// A body in chunks without an end.
fn endless(bytes: usize) -> Vec<u8> {
    let head = made_up_head(&format!("Transfer-Encoding: chunked\r\n\r\n{bytes:x}\r\n"));
    let head = head.trim_end_matches("\r\n").to_owned() + "\r\n";
    [head.into_bytes(), vec![b'A'; bytes]].concat()
}

/// A whole body that is looked into before its signature is checked, and unpacks to much.
fn whole_and_encoded(bytes: usize) -> Vec<u8> {
    let text = dense_text(bytes, &mut Rng::with_seed(1));
    let body = gzip(padded("A", "m", &text));
    let headers = format!(
        "Content-Encoding: gzip\r\nContent-Length: {}\r\n",
        body.len()
    );
    [made_up_head(&headers).into_bytes(), body].concat()
}

#[actix_web::test]
async fn large_bodies_of_strangers_refuse_no_honest_one() {
    let _alone = ALONE.lock().await;
    let one = [elsewhere(1)];
    let many: Vec<_> = (1..100).map(elsewhere).collect();
    let table = [
        ("4 of 32 MiB", 4, &one[..], unfinished(32 * MIB)),
        (
            "4 of 32 MiB, same address",
            4,
            &[HOME],
            unfinished(32 * MIB),
        ),
        ("8 in chunks", 8, &many, endless(31 * MIB)),
        ("200 of 600 KiB", 200, &one, unfinished(600 * KIB)),
        ("2,100 of 64 KiB", 2_100, &many, unfinished(64 * KIB)),
        ("8 whole ones of 4 MiB", 8, &one, whole(4 * MIB)),
        (
            "100 whole and encoded ones",
            100,
            &one,
            whole_and_encoded(30 * MIB),
        ),
    ];
    for (what, count, from, bytes) in table {
        let folder = Folder::new("strangers-room");
        settings(&folder, "", OWN_SECRET, "");
        let served = Served::start(&folder);
        let strangers = || Strangers::start(served.public, count, from, bytes);
        let (all, refused) = beside(&served, strangers).await;
        let peak = peak_memory(&served);
        println!(
            "{what}: {} of {all} refused; at most {peak} MiB",
            refused.len()
        );
        assert!(refused.is_empty(), "{what}: {refused:?}");
        // The bodies held (max_in_flight, 128 MiB), a buffer of 64 KiB for each of 2,100 connections, and the server
        // itself without optimisation; half as much again for the allocator.
        assert!(peak < 512, "{what}: {peak} MiB");
        served.program.stop();
    }
}

/// A body may take half an hour. Those of strangers give way all the same.
#[actix_web::test]
async fn steady_bodies_of_strangers_refuse_no_honest_one() {
    let _alone = ALONE.lock().await;
    let folder = Folder::new("strangers-steady");
    settings(&folder, "request_timeout = \"1s\"", OWN_SECRET, "");
    let served = Served::start(&folder);
    let head = made_up_head(&format!("Content-Length: {}\r\n", 32 * MIB));
    let bytes = [head.into_bytes(), vec![b'A'; 24 * MIB]].concat();
    let from: Vec<_> = (1..9).map(elsewhere).collect();
    let strangers = || Strangers::start_with(served.public, 8, &from, bytes, true);
    let (all, refused) = beside(&served, strangers).await;
    println!("steady bodies: {} of {all} refused", refused.len());
    assert!(refused.is_empty(), "{refused:?}");
    served.program.stop();
}

/// Sends small messages and those of a MiB. Returns how many, and the answers other than 200.
async fn beside(
    served: &Served,
    strangers: impl FnOnce() -> Strangers,
) -> (usize, Vec<(u16, String)>) {
    // The honest sender's address has a request that was verified lately.
    let first = message("A", "first").bytes();
    assert_eq!(status(HOME, served.public, &first).await.0, 200);
    let strangers = strangers();
    until("sent", async || strangers.has_sent.load(Ordering::Relaxed)).await;
    let mut answers = Vec::new();
    for index in 0..30 {
        let small = message("A", &format!("small-{index}")).bytes();
        answers.push(status(HOME, served.public, &small).await);
        if index % 5 == 0 {
            let body = padded("A", &format!("large-{index}"), &"y".repeat(MIB));
            answers.push(status(HOME, served.public, &signed(body).bytes()).await);
        }
    }
    let all = answers.len();
    answers.retain(|answer| answer.0 != 200);
    (all, answers)
}

const KIB: usize = 1024;

const MIB: usize = 1024 * KIB;
