//! The kinds of attack on the public listener. Those on the admin listener are in `admin.rs`, those that claim
//! to be from another sender in `forged.rs`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::BoxFuture;
use offhook::testing::TestRequest;
use tokio::io::AsyncWriteExt as _;

use super::bodies::{gzip, made_up_head, padded};
use super::sockets::{
    HOME, connect, elsewhere, hold, read_all, send_unread, status, try_send_all, with_token,
};
use super::{admin, forged};
use crate::served::Served;

/// One attack, which takes some seconds at most.
pub type Attack = for<'a> fn(&'a Target, &'a mut Rng) -> BoxFuture<'a, ()>;

macro_rules! kinds {
    ($($attack:path),* $(,)?) => {
        &[$((stringify!($attack), |target, rng| Box::pin($attack(target, rng)))),*]
    };
}

/// All kinds, by name.
pub const KINDS: &[(&str, Attack)] = kinds![
    unread_answers,
    half_heads,
    slow_bodies,
    large_bodies,
    whole_large_bodies,
    thousands_of_connections,
    junk,
    huge_heads,
    upgrades,
    forged::unsigned_bombs,
    forged::bombs_of_one_session,
    forged::huge_names,
    forged::behind_a_closing_answer,
    forged::captured_under_other_paths,
    forged::of_another_session,
    forged::repeated_headers,
    admin::half_requests,
    admin::pages_of_other_sites,
    admin::wrong_tokens,
];

/// The server under attack.
pub struct Target {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    /// A valid request that is known already.
    pub captured: Vec<u8>,
    /// Each task ends with the attack that it is at.
    pub is_over: AtomicBool,
    counts: Vec<AtomicUsize>,
    breaches: Mutex<Vec<String>>,
}

impl Target {
    pub fn new(served: &Served, captured: Vec<u8>) -> Self {
        Self {
            public: served.public,
            admin: served.admin,
            captured,
            is_over: AtomicBool::new(false),
            counts: KINDS.iter().map(|_| AtomicUsize::new(0)).collect(),
            breaches: Mutex::default(),
        }
    }

    pub async fn attack(&self, kind: usize, rng: &mut Rng) {
        KINDS[kind].1(self, rng).await;
        self.counts[kind].fetch_add(1, Ordering::Relaxed);
    }

    /// Notes an answer that the attacker must not get. No answer is fine.
    pub fn expect(&self, what: &str, answer: &(u16, String), allowed: &[u16]) {
        if answer.0 != 0 && !allowed.contains(&answer.0) {
            let mut breaches = self.breaches.lock().unwrap();
            if breaches.len() < 20 {
                breaches.push(format!("{what}: {} {:.300}", answer.0, answer.1));
            }
        }
    }

    pub fn breaches(&self) -> Vec<String> {
        self.breaches.lock().unwrap().clone()
    }

    pub fn print_counts(&self) {
        for ((name, _), count) in KINDS.iter().zip(&self.counts) {
            println!("{:4} x {name}", count.load(Ordering::Relaxed));
        }
    }
}

/// The address of the honest sender, or another.
pub fn somewhere(rng: &mut Rng) -> Ipv4Addr {
    if rng.u8(..4) == 0 {
        HOME
    } else {
        elsewhere(rng.u8(..))
    }
}

/// How long something is held.
pub async fn for_a_while(rng: &mut Rng) {
    tokio::time::sleep(Duration::from_millis(rng.u64(100..2000))).await;
}

async fn unread_answers(target: &Target, rng: &mut Rng) {
    let get = |path| (target.public, TestRequest::get(path).bytes());
    let requests = [
        get("/nothing"),
        get("/webhook"),
        (target.public, target.captured.clone()),
        (target.admin, TestRequest::get("/health").bytes()),
        (target.admin, TestRequest::get("/api/events").bytes()),
    ];
    let (to, request) = &requests[rng.usize(..requests.len())];
    let from = somewhere(rng);
    let (held, _) = send_unread(from, *to, rng.usize(1..100), &request.repeat(500)).await;
    for_a_while(rng).await;
    drop(held);
}

async fn half_heads(target: &Target, rng: &mut Rng) {
    let whole = &target.captured;
    let cut = rng.usize(..120.min(whole.len()));
    let held = hold(
        somewhere(rng),
        target.public,
        rng.usize(1..300),
        &whole[..cut],
    )
    .await;
    for _ in 0..rng.u8(1..20) {
        try_send_all(&held, b"X");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn slow_bodies(target: &Target, rng: &mut Rng) {
    let head = if rng.bool() {
        made_up_head(&format!("Content-Length: {}\r\n", rng.u32(..40 << 20)))
    } else {
        made_up_head("Transfer-Encoding: chunked\r\n")
    };
    let held = hold(
        somewhere(rng),
        target.public,
        rng.usize(1..200),
        head.as_bytes(),
    )
    .await;
    for _ in 0..rng.u8(1..20) {
        // For chunks this is junk now and then.
        try_send_all(&held, b"1\r\nx\r\n");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// They lack their end.
async fn large_bodies(target: &Target, rng: &mut Rng) {
    let bytes = rng.usize(60 << 10..32 << 20);
    let head = made_up_head(&format!("Content-Length: {}\r\n", bytes + 1));
    send_large(target, rng, head.into_bytes(), vec![b'A'; bytes]).await;
}

/// They are whole, and some of them encoded.
async fn whole_large_bodies(target: &Target, rng: &mut Rng) {
    let bytes = rng.usize(60 << 10..8 << 20);
    let (body, encoding) = if rng.bool() {
        let body = padded("A", "large", &"A".repeat(bytes));
        (gzip(body), "Content-Encoding: gzip\r\n")
    } else {
        (vec![b'A'; bytes], "")
    };
    let head = made_up_head(&format!("{encoding}Content-Length: {}\r\n", body.len()));
    send_large(target, rng, head.into_bytes(), body).await;
}

/// Sends a request over several connections at the same time, for some seconds at most.
async fn send_large(target: &Target, rng: &mut Rng, head: Vec<u8>, body: Vec<u8>) {
    let (from, count) = (somewhere(rng), rng.usize(1..8));
    let longest = Duration::from_millis(rng.u64(500..4000));
    let request = [head, body].concat();
    let sending = (0..count).map(async |_| {
        let Ok(mut stream) = connect(from, target.public).await else {
            return;
        };
        let exchange = async {
            let _ = stream.write_all(&request).await;
            read_all(&mut stream, longest).await
        };
        let answer = tokio::time::timeout(longest, exchange).await;
        let answer = answer.unwrap_or_default();
        if answer.starts_with(b"HTTP/1.1 2") {
            let text = String::from_utf8_lossy(&answer).into_owned();
            target.expect("a large body", &(200, text), &[]);
        }
    });
    futures_util::future::join_all(sending).await;
}

async fn thousands_of_connections(target: &Target, rng: &mut Rng) {
    let bytes: &[u8] = match rng.u8(..3) {
        0 => b"",
        1 => b"GET / HTTP/1.1\r\n",
        _ => b"GET /webhook HTTP/1.1\r\nHost: x\r\n\r\n",
    };
    let held = hold(somewhere(rng), target.public, rng.usize(500..2000), bytes).await;
    for_a_while(rng).await;
    drop(held);
}

/// Bytes that are no HTTP, alone and behind a valid request.
async fn junk(target: &Target, rng: &mut Rng) {
    for _ in 0..20 {
        let mut bytes = match rng.u8(..3) {
            0 => target.captured.clone(),
            1 => made_up_head("Transfer-Encoding: chunked\r\n").into_bytes(),
            _ => Vec::new(),
        };
        bytes.extend((0..rng.usize(1..2000)).map(|_| rng.u8(..)));
        if rng.bool() {
            // Among the bytes of a valid one.
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
        }
        let to = if rng.u8(..4) == 0 {
            target.admin
        } else {
            target.public
        };
        if let Ok(mut stream) = connect(somewhere(rng), to).await {
            let _ = stream.write_all(&bytes).await;
            read_all(&mut stream, Duration::from_millis(200)).await;
        }
    }
}

async fn huge_heads(target: &Target, rng: &mut Rng) {
    let many = "X-Many: 1\r\n".repeat(rng.usize(90..5000));
    let long = format!("X-Long: {}\r\n", "x".repeat(rng.usize(1..200_000)));
    let path = "p".repeat(rng.usize(1..100_000));
    let requests = [
        made_up_head(&(many + "Content-Length: 0\r\n")),
        made_up_head(&(long + "Content-Length: 0\r\n")),
        format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n"),
    ];
    for request in requests {
        let answer = status(somewhere(rng), target.public, request.as_bytes()).await;
        target.expect("a huge head", &answer, &[400, 401, 404, 413, 414, 431]);
    }
}

/// With a length, without one, with both, and with two of them.
async fn upgrades(target: &Target, rng: &mut Rng) {
    let upgrade = [
        "Upgrade: websocket\r\nConnection: Upgrade\r\n",
        "Upgrade: h2c\r\n",
        "",
    ];
    let lengths = [
        "",
        "Content-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Expect: 100-continue\r\nContent-Length: 5\r\n",
    ];
    let (upgrade, length) = (upgrade[rng.usize(..3)], lengths[rng.usize(..6)]);
    let head = made_up_head(&format!("{upgrade}{length}"));
    // What follows may be taken for the next request; it is not signed.
    let bytes = head + "5\r\nhello\r\n0\r\n\r\n" + &made_up_head("Content-Length: 0\r\n");
    let Ok(mut stream) = connect(somewhere(rng), target.public).await else {
        return;
    };
    let _ = stream.write_all(bytes.as_bytes()).await;
    let answers = read_all(&mut stream, Duration::from_secs(1)).await;
    let answers = String::from_utf8_lossy(&answers).into_owned();
    if answers.contains("HTTP/1.1 200") || answers.contains("HTTP/1.1 101 ") {
        target.expect("an upgrade", &(200, answers), &[]);
    }
    let list = status(HOME, target.admin, &with_token("/health").bytes()).await;
    target.expect("the administrator beside an upgrade", &list, &[200]);
}
