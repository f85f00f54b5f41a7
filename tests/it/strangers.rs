//! Strangers: a peer without a secret cannot take the server's memory, connections or descriptors. Nor can a
//! sender with a secret, by what a body unpacks to or by a name of megabytes.
//!
//! Each test runs a real server. Its only limits on time say how long something may hang. It prints the
//! figures: `cargo test --test it strangers -- --nocapture`. The tests run one after the other, because they
//! measure memory and load the machine.

mod encodings;
mod names;
mod room;

use std::process::Command;

use offhook::testing::TestRequest;
use tokio::sync::Mutex;

use crate::attack::bodies::{made_up_head, message};
use crate::attack::sockets::{
    HANG, HOME, TOKEN, api, ask, ask_on, connect, elsewhere, forget_peak, hold, memory,
    peak_memory, read_all, send_unread, settings, status, try_send_all, with_token,
};
use crate::served::{JSONL, Served, handled, until, within};
use crate::support::{Folder, Program, address_in};

/// The tests measure memory, so they run one after the other.
static ALONE: Mutex<()> = Mutex::const_new(());

/// That an honest sender's message is received over a new connection.
async fn expect_received(served: &Served, id: &str) {
    let answer = status(HOME, served.public, &message("A", id).bytes()).await;
    assert_eq!(answer.0, 200, "{id}: {}", answer.1);
}

/// That the administrator's short requests are answered over new connections.
async fn expect_admin(served: &Served, when: &str) {
    for path in ["/health", "/ready"] {
        let answer = status(HOME, served.admin, &TestRequest::get(path).bytes()).await;
        assert_eq!(answer.0, 200, "{when}: {path}: {}", answer.1);
    }
}

/// Row B1.
#[actix_web::test]
async fn unread_answers_stop_the_reading() {
    let _alone = ALONE.lock().await;
    let folder = Folder::new("strangers-unread");
    let server = "health_path = \"/healthz\"";
    settings(&folder, server, "probe = true", "");
    let served = Served::start(&folder);
    expect_received(&served, "first").await;
    let wrong = made_up_head("Content-Length: 2\r\n") + "{}";
    let captured = message("A", "first").bytes();
    let get = |path: &str| TestRequest::get(path).bytes();
    let head = format!("HEAD /webhook HTTP/1.1\r\nHost: {}\r\n\r\n", served.public);
    let (public, admin) = (served.public, served.admin);
    let table = [
        (public, "an unknown path", get("/nothing")),
        (public, "a wrong signature", wrong.into_bytes()),
        (public, "a probe", get("/webhook")),
        (public, "a probe without a body", head.into_bytes()),
        (public, "the health path", get("/healthz")),
        (public, "a captured request", captured),
        (admin, "/health", get("/health")),
        (admin, "/ready", get("/ready")),
        (admin, "no token", get("/api/events")),
        (admin, "/metrics", with_token("/metrics").bytes()),
        (admin, "a list", with_token("/api/events").bytes()),
        (admin, "no page", with_token("/nothing").bytes()),
    ];
    for (number, (to, what, request)) in table.into_iter().enumerate() {
        let before = memory(&served);
        forget_peak(&served);
        let (held, sent) = send_unread(elsewhere(1), to, 200, &request.repeat(1000)).await;
        expect_received(&served, &number.to_string()).await;
        expect_admin(&served, what).await;
        let more = peak_memory(&served).saturating_sub(before);
        println!("{what}: {} KiB sent, {more} MiB more held", sent / 1024);
        assert!(more < 100, "{what}: {more} MiB more");
        drop(held);
    }
    served.program.stop();
}

/// Row B6.
#[actix_web::test]
async fn strangers_on_all_connections_exclude_no_sender() {
    let _alone = ALONE.lock().await;
    let folder = Folder::new("strangers-connections");
    settings(&folder, "max_connections = 60", "probe = true", "");
    let served = Served::start(&folder);
    let mut kept = connect(HOME, served.public).await.unwrap();
    let kept_open = async |kept: &mut _, id: &str| {
        let answer = ask_on(kept, &message("A", id).bytes()).await;
        assert_eq!(answer.map(|answer| answer.status), Ok(200), "{id}");
    };
    kept_open(&mut kept, "kept-first").await;
    let whole = message("A", "never").bytes();
    let half_body = made_up_head("Content-Length: 1000\r\n") + "{";
    let kinds = [
        ("silent", Vec::new()),
        ("half a head", whole[..20].to_vec()),
        ("half a body", half_body.into_bytes()),
        ("an unknown path", TestRequest::get("/nothing").bytes()),
        (
            "an unknown method",
            b"PUT /webhook HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        ),
        ("a probe", TestRequest::get("/webhook").bytes()),
        (
            "a wrong signature",
            (made_up_head("Content-Length: 2\r\n") + "{}").into_bytes(),
        ),
    ];
    for (kind, (what, bytes)) in kinds.into_iter().enumerate() {
        for from in [HOME, elsewhere(1)] {
            let held = hold(from, served.public, 200, &bytes).await;
            if from == HOME {
                // Those that are let in after it may be so many that it gives way. It is told apart from them
                // only when it has proven itself.
                let first = message("A", &format!("{kind}-first")).bytes();
                until("let in", async || {
                    status(HOME, served.public, &first).await.0 == 200
                })
                .await;
            }
            for number in 0..10 {
                expect_received(&served, &format!("{kind}-{from}-{number}")).await;
                try_send_all(&held, &bytes);
            }
            kept_open(&mut kept, &format!("kept-{kind}-{from}")).await;
            println!(
                "{what} on {} connections from {from}: the honest sender is answered",
                held.len()
            );
        }
    }
    served.program.stop();
}

/// Row B6: a connection is not kept by asking for what there is not.
#[actix_web::test]
async fn an_unanswerable_request_ends_its_connection() {
    let folder = Folder::new("strangers-unanswerable");
    settings(&folder, "", "", "");
    let served = Served::start(&folder);
    let table = [
        ("GET", "/", 404),
        ("POST", "/nothing", 404),
        ("GET", "/webhook", 405),
        ("DELETE", "/webhook/A", 405),
        ("OPTIONS", "*", 404),
        ("BREW", "/webhook", 405),
    ];
    for (method, path, expected) in table {
        let mut stream = connect(HOME, served.public).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let answer = ask_on(&mut stream, request.as_bytes()).await.unwrap();
        let closes = answer.header("connection") == Some("close");
        assert_eq!((answer.status, closes), (expected, true), "{method} {path}");
        // It ends by itself, and says nothing more.
        let rest = read_all(&mut stream, HANG).await;
        assert!(rest.is_empty(), "{method} {path}");
    }
    served.program.stop();
}

/// Row B7.
#[actix_web::test]
async fn strangers_do_not_keep_the_administrator_out() {
    let _alone = ALONE.lock().await;
    let folder = Folder::new("strangers-admin");
    settings(&folder, "", "", "");
    let served = Served::start(&folder);
    let get = TestRequest::get("/health").bytes();
    let half_head = &get[..get.len() - 2];
    let half_body = |authorization: &str| {
        format!(
            "POST /api/replay HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}\
             Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{{"
        )
    };
    let with = half_body(&format!("Authorization: Bearer {TOKEN}\r\n"));
    let without = half_body("");
    let wrong = half_body("Authorization: Bearer 0123456789abcdef-wrong\r\n");
    let second = [&get, half_head].concat();
    let table = [
        ("silent connections", &b""[..]),
        ("half heads", half_head),
        ("half second heads", &second),
        ("half bodies", without.as_bytes()),
        ("half bodies with a wrong token", wrong.as_bytes()),
        ("half bodies with the token", with.as_bytes()),
    ];
    for (what, bytes) in table {
        for from in [HOME, elsewhere(1)] {
            let held = hold(from, served.admin, 300, bytes).await;
            for _ in 0..3 {
                try_send_all(&held, b"a");
                expect_admin(&served, what).await;
            }
            if !bytes.starts_with(with.as_bytes()) {
                api(&served, "/api/consumers").await;
            }
            println!(
                "{what} on {} connections from {from}: the administrator is answered",
                held.len()
            );
        }
    }
    expect_received(&served, "after").await;
    served.program.stop();
}

/// Row B7: slow requests to the API are limited, and do not hide whether the process lives.
#[actix_web::test]
async fn too_many_slow_admin_requests_are_refused() {
    let _alone = ALONE.lock().await;
    let folder = Folder::new("strangers-turns");
    settings(&folder, "", "", "");
    let served = Served::start(&folder);
    let half = format!(
        "POST /api/replay HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    let held = hold(HOME, served.admin, 64, half.as_bytes()).await;
    let list = with_token("/api/consumers").bytes();
    until("refused", async || {
        status(HOME, served.admin, &list).await.0 == 503
    })
    .await;
    expect_admin(&served, "beside slow requests").await;
    let metrics = status(HOME, served.admin, &with_token("/metrics").bytes()).await;
    assert_eq!(metrics.0, 200);
    drop(held);
    until("answered again", async || {
        status(HOME, served.admin, &list).await.0 == 200
    })
    .await;
    served.program.stop();
}

/// Row B7.
#[actix_web::test]
async fn pages_of_other_sites_are_refused_everywhere() {
    let folder = Folder::new("strangers-sites");
    settings(&folder, "", "", "");
    let served = Served::start(&folder);
    for method in ["GET", "POST", "DELETE"] {
        for path in [
            "/api/events",
            "/api/replay",
            "/sessions/A/webhook",
            "/metrics",
        ] {
            for site in ["cross-site", "same-site", "", "none, cross-site"] {
                let mut request = with_token(path).header("Sec-Fetch-Site", site);
                request.method = method.to_owned();
                let (status, text) = status(HOME, served.admin, &request.bytes()).await;
                assert_eq!(status, 403, "{method} {path} {site:?}: {text}");
            }
        }
    }
    for site in ["none", "same-origin"] {
        let request = with_token("/api/events").header("Sec-Fetch-Site", site);
        let answer = ask(HOME, served.admin, &request.bytes()).await.unwrap();
        assert_eq!(answer.status, 200, "{site}");
    }
    served.program.stop();
}

/// Row B8.
#[actix_web::test]
async fn few_descriptors_are_divided() {
    let _alone = ALONE.lock().await;
    let folder = Folder::new("strangers-files");
    let (served, cause) = with_few_descriptors(&folder);
    expect_admin(&served, "at the start").await;
    let idle = hold(elsewhere(1), served.public, 200, b"").await;
    expect_admin(&served, "with 200 idle connections").await;
    for number in 0..10 {
        expect_received(&served, &format!("beside-{number}")).await;
    }
    api(&served, "/api/consumers").await;
    drop(idle);
    expect_received(&served, "afterwards").await;
    until("handled", async || handled(&folder).len() == 11).await;
    let said = served.program.kill();
    println!("{cause}\n{} more lines", said.lines().count());
    assert!(said.lines().count() < 100, "{said}");
}

/// Row B8: connections that come while the server starts do not take the descriptors that it needs for that.
#[actix_web::test]
async fn a_start_beside_idle_connections_is_whole() {
    let _alone = ALONE.lock().await;
    for round in 0..5 {
        let folder = Folder::new("strangers-files-start");
        let (served, _) = with_few_descriptors(&folder);
        let idle = hold(elsewhere(1), served.public, 200, b"").await;
        expect_admin(&served, &format!("start {round} with 200 idle connections")).await;
        drop(idle);
        expect_received(&served, "afterwards").await;
        served.program.stop();
    }
}

/// Row B8: nor do those of both listeners together.
#[actix_web::test]
async fn idle_connections_to_both_listeners_delay_no_request() {
    let _alone = ALONE.lock().await;
    let folder = Folder::new("strangers-files-both");
    let (served, _) = with_few_descriptors(&folder);
    expect_admin(&served, "at the start").await;
    let idle = hold(elsewhere(1), served.public, 200, b"").await;
    let idle_admin = hold(elsewhere(1), served.admin, 100, b"").await;
    for number in 0..10 {
        expect_admin(&served, "with 300 idle connections").await;
        expect_received(&served, &format!("beside-{number}")).await;
    }
    drop((idle, idle_admin));
    served.program.stop();
}

/// A server under `ulimit -n 100`, and what it said of that.
fn with_few_descriptors(folder: &Folder) -> (Served, String) {
    settings(folder, "", "", JSONL);
    let mut command = Command::new("sh");
    let script = "ulimit -n 100 && exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_offhook")]);
    let program = Program::start(&mut within(folder, command));
    let cause = program.logged("open files");
    assert!(cause.contains("100"), "{cause}");
    let served = Served {
        public: address_in(&program.logged("/webhook")),
        admin: address_in(&program.logged("/ready")),
        program,
    };
    (served, cause)
}
