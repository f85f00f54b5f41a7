//! The gateway's client against a gateway that is scripted: the command line, the library, and what
//! `[[gateways]]` does when a server starts.

mod kinds;
mod scripted;

use std::net::TcpListener;
use std::time::Duration;

use offhook::Offhook;
use offhook::gateway::{Gateway, GatewayClient, Registration, Unanswered, Verdict};
use offhook::settings::GatewaySettings;
use offhook::testing::{self, TestEvent};
use serde_json::json;

use crate::served::{self, Served};
use crate::support::{
    Folder, KEY, Program, Ran, address_in, bounded, offhook as command, secret, source,
};
use scripted::{Reply, Scripted, answer};

const YES: &str = r#"{"success":true}"#;

/// `offhook gateway ACTION` for the session s.
fn gateway(action: &str, url: &str, more: &[&str]) -> Ran {
    let mut command = command(&["gateway", action, "--gateway", url, "--session", "s"]);
    command.args(more).output().unwrap().into()
}

fn register(url: &str, more: &[&str]) -> Ran {
    let webhook = ["--webhook-url", "http://127.0.0.1:5000/webhook/{session}"];
    gateway("register", url, &[&webhook, more].concat())
}

#[test]
fn request_and_answer_are_printed_in_every_shape() {
    let table = [
        (
            "docs",
            "/sessions/s/webhook",
            r#"{"webhookUrl":"URL","events":["message","status","connection"],"secret":"SECRET"}"#,
        ),
        (
            "implementation",
            "/sessions/s/webhooks",
            r#"{"incoming":"URL","group":"URL","status":"URL"}"#,
        ),
        (
            "next",
            "/api/sessions/s/webhooks",
            r#"{"url":"URL","events":["message","status","connection"]}"#,
        ),
    ];
    for (shape, path, body) in table {
        let server = Scripted::start(vec![answer(201, "{\"success\":true,\n\"b\":\"\x7f\"}")]);
        let url = server.url();
        let shape = ["--shape", shape];
        let body = body.replace("URL", "http://127.0.0.1:5000/webhook/s");
        let own = ["--secret", "hidden", "--api-key", "hidden"];

        let ran = register(&url, &[&shape[..], &own].concat());
        let asked = server.asked();
        assert_eq!(asked.line, format!("POST {path}"));
        assert_eq!(asked.body, body.replace("SECRET", "hidden"));
        assert_eq!(asked.header("content-type"), Some("application/json"));
        assert_eq!(asked.header("x-api-key"), Some("hidden"));
        let sent = body.replace("SECRET", "***");
        let answered = "answered 201\n  {\"success\":true,\n  \"b\":\"\\u{007f}\"}\n";
        let expected =
            format!("POST {url}{path}\n  x-api-key: ***\n  {sent}\n{answered}registered\n");
        assert_eq!((ran.status, ran.printed.as_str()), (0, expected.as_str()));
        let warned = shape[1] != "docs";
        assert_eq!(
            ran.said.contains("has no room for a secret"),
            warned,
            "{ran:?}"
        );

        for (action, method, done) in [("remove", "DELETE", "removed"), ("show", "GET", "shown")] {
            let ran = gateway(action, &url, &shape);
            let asked = server.asked();
            assert_eq!(
                (asked.line.as_str(), asked.body.as_str()),
                (&*format!("{method} {path}"), "")
            );
            let expected = format!("{method} {url}{path}\n{answered}{done}\n");
            assert_eq!(
                (ran.status, ran.printed, ran.said),
                (0, expected, String::new())
            );
        }
    }
}

#[test]
fn every_failure_is_told_with_what_to_do() {
    let table = [
        (
            answer(401, r#"{"error":"no"}"#),
            "answered 401",
            "--header 'Authorization: Bearer …'",
        ),
        (
            answer(404, "<html>"),
            "answered 404",
            "try --shape implementation or --shape next",
        ),
        (
            answer(400, "{}"),
            "answered 400",
            "try --shape implementation or --shape next",
        ),
        (
            answer(301, ""),
            "answered 301",
            "redirects are not followed",
        ),
        (answer(500, "{}"), "answered 500", "its log may say why"),
        (answer(503, "{}"), "answered 503", "try again later"),
        (
            answer(200, "<!doctype html>"),
            "answered 200",
            "is --gateway the base of its API",
        ),
        (
            answer(200, r#"{"success":false}"#),
            "answered 200",
            "no success",
        ),
        (Reply::Endless, "answered 200", "longer than 64 KiB"),
        (
            Reply::Raw(b"SSH-2.0\r\n".to_vec()),
            "not registered: ",
            "speaks no HTTP",
        ),
        (
            Reply::Raw(b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n{".to_vec()),
            "not registered: ",
            "speaks no HTTP",
        ),
    ];
    for (reply, printed, hint) in table {
        let server = Scripted::start(vec![reply]);
        let ran = register(&server.url(), &[]);
        assert!(ran.status == 1 && ran.printed.contains(printed), "{ran:?}");
        assert!(
            ran.printed.contains("\nnot registered") && ran.said.contains(hint),
            "{ran:?}"
        );
        assert_eq!(server.rest().len(), 1, "asked once");
        assert!(ran.printed.len() < 10_000, "no more than the beginning");
    }
}

#[test]
fn an_unreachable_gateway_is_explained() {
    // A port that is taken and that nobody listens on.
    let socket = taken();
    let ran = register(&format!("http://{}", socket.1), &[]);
    assert_eq!(ran.status, 1);
    assert!(
        ran.printed
            .ends_with("not registered: connection refused\n"),
        "{ran:?}"
    );
    assert!(ran.said.contains("Is the gateway running"), "{ran:?}");
    let ran = register("http://gateway.invalid", &[]);
    assert_eq!(ran.status, 1);
    assert!(ran.said.contains("name and port right"), "{ran:?}");
}

#[test]
fn a_program_reads_the_same_as_json() {
    let server = Scripted::start(vec![
        answer(
            200,
            "{\"webhook\":{\"secret\":\"hidden-2\"},\"was\":\"hidden-1\"}",
        ),
        answer(404, "no \u{9b}such page"),
    ]);
    let url = server.url();
    let own = [
        "--secret",
        "hidden-1",
        "--json",
        "--header",
        "Authorization: Bearer hidden-3",
    ];
    let ran = register(&url, &own);
    assert_eq!(
        server.asked().header("authorization"),
        Some("Bearer hidden-3")
    );
    let expected = json!({
        "ok": true,
        "unchanged": false,
        "warnings": [],
        "before": [],
        "sent": {
            "method": "POST",
            "url": format!("{url}/sessions/s/webhook"),
            "headers": ["authorization"],
            "body": {
                "webhookUrl": "http://127.0.0.1:5000/webhook/s",
                "events": ["message", "status", "connection"],
                "secret": "***",
            },
        },
        "answer": {"status": 200, "body": {"webhook": {"secret": "***"}, "was": "***"}},
        "error": null,
        "hint": null,
    });
    assert_eq!(
        (ran.status, ran.json(), ran.said.as_str()),
        (0, expected, "")
    );

    let ran = gateway("show", &url, &["--json"]);
    let report = ran.json();
    assert_eq!((ran.status, &report["ok"]), (1, &json!(false)));
    assert_eq!(
        report["answer"],
        json!({"status": 404, "body": "no \u{9b}such page"})
    );
    assert!(
        report["hint"].as_str().unwrap().contains("--shape"),
        "{report}"
    );
    assert!(!ran.printed.contains('\u{9b}'));
}

#[test]
fn a_wrong_request_is_refused_before_sending() {
    let server = Scripted::start(vec![answer(200, YES)]);
    let url = server.url();
    let table: [(&[&str], &str); 8] = [
        (
            &["--events", "mesage"],
            "allowed: message, status, connection",
        ),
        (&["--shape", "doc"], "allowed: docs, implementation, next"),
        (
            &["--secret", ""],
            "'--secret <SECRET>': the secret is empty",
        ),
        (
            &["--secret", "env:OFFHOOK_TEST_NONE"],
            "OFFHOOK_TEST_NONE is not set",
        ),
        (&["--header", "hidden"], "--header: expected 'Name: value'"),
        (&["--header", "Host: hidden"], "set by the client itself"),
        (&["--api-key", "hidden\n"], "no line of visible characters"),
        (
            &["--shape", "implementation", "--events", "connection"],
            "allowed: message, status, *",
        ),
    ];
    for (options, text) in table {
        let ran = register(&url, options);
        assert!(
            ran.status == 2 && ran.said.contains(text),
            "{text}: {ran:?}"
        );
        assert!(
            ran.printed.is_empty() && !ran.said.contains("hidden"),
            "{ran:?}"
        );
    }
    for (gateway_url, webhook) in [
        ("ftp://x", "http://m"),
        ("http://u:hidden@x", "http://m"),
        (&url, "m"),
        (&url, "http://u:hidden@m"),
        (&url, "env:OFFHOOK_TEST_NONE"),
    ] {
        let ran = gateway("register", gateway_url, &["--webhook-url", webhook]);
        assert!(ran.status == 2 && !ran.said.contains("hidden"), "{ran:?}");
    }
    assert!(server.rest().is_empty());
}

#[test]
fn no_proxy_is_used_and_no_secret_shown() {
    let server = Scripted::start(vec![answer(200, r#"{"webhookUrl":"http://h/hidden"}"#)]);
    let url = server.url();
    let mut command = command(&[
        "gateway",
        "register",
        "--webhook-url",
        "env:HOOK",
        "--session",
        "s",
    ]);
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(name, "http://127.0.0.1:1");
    }
    command
        .env("HOOK", "http://h/hidden")
        .env("OFFHOOK_GATEWAY", &url);
    let ran: Ran = command.output().unwrap().into();
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(server.asked().json()["webhookUrl"], "http://h/hidden");
    assert!(
        ran.printed.contains("\"webhookUrl\":\"http://h/***\""),
        "{ran:?}"
    );
    assert!(!format!("{ran:?}").contains("hidden"), "{ran:?}");
}

#[test]
fn a_loopback_url_for_a_remote_gateway_warns() {
    let ran = register("http://gateway.invalid", &["--secret", "s"]);
    assert!(
        ran.said
            .starts_with("warning: The webhook URL is on 127.0.0.1"),
        "{ran:?}"
    );
}

#[actix_web::test]
async fn the_library_asks_the_same() {
    let server = Scripted::start(vec![answer(200, YES), Reply::Hang]);
    let target = Gateway::new(&server.url()).unwrap();
    let client = GatewayClient::new(target).unwrap();
    let registration = Registration::new("https://me/webhook").unwrap();
    let registration = registration.events(["message"]).secret(secret("hidden"));
    let call = client.register("a/b", &registration).unwrap();
    assert!(!format!("{call:?}").contains("hidden"), "{call:?}");
    let answer = bounded(call.send()).await.unwrap();
    assert_eq!(
        (answer.verdict, answer.to_string().as_str()),
        (Verdict::Accepted, "200 {\"success\":true}")
    );
    let asked = server.asked();
    assert_eq!(asked.line, "POST /sessions/a%2Fb/webhook");
    let expected =
        json!({"webhookUrl": "https://me/webhook", "events": ["message"], "secret": "hidden"});
    assert_eq!(asked.json(), expected);

    let short = Duration::from_millis(200);
    let hung = client.timeout(short).show("s").unwrap().send();
    assert_eq!(
        bounded(hung).await.unwrap_err(),
        Unanswered::TimedOut(short)
    );
}

/// A port that is ours and on which connections are refused, until it is listened on.
fn taken() -> (socket2::Socket, std::net::SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

fn gateways(url: &str, more: &str) -> String {
    format!(
        "[[gateways]]\nname = \"main\"\nurl = \"{url}\"\nsessions = [\"a\", \"b\"]\n\
         webhook_url = \"http://127.0.0.1:5000/webhook/{{session}}\"\n{more}\n"
    )
}

#[actix_web::test]
async fn a_server_registers_when_the_gateway_is_up() {
    let folder = Folder::new("gateway-later");
    let (socket, address) = taken();
    let more = format!("secret = \"{KEY}\"\nheaders = {{ Authorization = \"Bearer hidden\" }}");
    served::settings(&folder, &gateways(&format!("http://{address}"), &more));
    let served = Served::start(&folder);
    let waiting = served.program.logged("not registered yet");
    assert!(
        waiting.contains(" WARN  gateway main: session "),
        "{waiting}"
    );
    assert!(
        waiting.ends_with("trying again: connection refused"),
        "{waiting}"
    );
    // It receives meanwhile.
    let event = TestEvent::message("+1", "early").sign(&secret(KEY));
    assert_eq!(event.send(served.public).await.status, 200);

    socket.listen(16).unwrap();
    let server = Scripted::on(TcpListener::from(socket), vec![answer(200, YES)]);
    let mut lines: Vec<_> = (0..2)
        .map(|_| served.program.logged("is registered"))
        .collect();
    lines.sort_by_key(|line| line.split("session").nth(1).map(str::to_owned));
    for (session, line) in ["a", "b"].iter().zip(&lines) {
        let end = format!(
            " INFO  gateway main: session {session} is registered for \
             http://127.0.0.1:5000/webhook/{{session}} (200)"
        );
        assert!(line.ends_with(&end), "{line}");
    }
    let mut asked = [server.asked(), server.asked()];
    asked.sort_by(|one, other| one.line.cmp(&other.line));
    assert_eq!(asked[1].line, "POST /sessions/b/webhook");
    assert_eq!(
        asked[1].json()["webhookUrl"],
        "http://127.0.0.1:5000/webhook/b"
    );
    assert_eq!(asked[1].json()["secret"], KEY);
    assert_eq!(asked[1].header("authorization"), Some("Bearer hidden"));
    let said = served.program.kill();
    assert!(!said.contains("hidden"), "{said}");
}

#[actix_web::test]
async fn a_permanent_refusal_is_an_immediate_error() {
    let folder = Folder::new("gateway-no");
    let server = Scripted::start(vec![answer(401, "{\"error\":\"hidden\"}")]);
    let more = "secret = \"of nobody\"\nheaders = { X-Key = \"hidden\" }";
    served::settings(&folder, &gateways(&server.url(), more));
    let program = Program::start(&mut served::command(&folder));
    program.logged("no source has the secret it is given");
    let public = address_in(&program.logged("webhooks"));
    let line = program.logged("given up after attempt 1");
    assert!(line.contains(" ERROR gateway main: session "), "{line}");
    assert!(
        line.contains("it answered 401 {\"error\":\"***\"}"),
        "{line}"
    );
    let event = TestEvent::message("+1", "all the same").sign(&secret(KEY));
    assert_eq!(event.send(public).await.status, 200);
}

#[actix_web::test]
async fn a_server_in_code_registers_and_stops() {
    let server = Scripted::start(vec![Reply::Hang]);
    let registration = Registration::new("http://127.0.0.1/webhook").unwrap();
    let target = Gateway::new(&server.url()).unwrap();
    let settings = GatewaySettings::new(target, ["a"], registration);
    let offhook = Offhook::builder().source(source()).without_admin();
    let offhook = offhook.configure(|all| all.gateways.push(settings));
    let started = testing::start(offhook).await;
    // The server shares this test's thread, which therefore must not wait.
    let (server, asked) = tokio::task::spawn_blocking(move || {
        let asked = server.asked();
        (server, asked)
    })
    .await
    .unwrap();
    assert_eq!(asked.line, "POST /sessions/a/webhook");
    bounded(started.stop()).await;
    drop(server);
}

#[test]
fn check_says_who_is_told_what() {
    let folder = Folder::new("gateway-check");
    let more = "secret = \"of nobody\"\nheaders = { X-Key = \"hidden\" }";
    served::settings(&folder, &gateways("https://gw.example/api", more));
    let mut command = command(&["check"]);
    let ran: Ran = command.current_dir(&folder.0).output().unwrap().into();
    let expected = "\
gateways       1, told at the start where to send
  main         kind codeskytz
               url https://gw.example/api
               shape docs
               webhook_url http://127.0.0.1:5000/webhook/{session}
               secret yes
               secret_known no: no source has that secret, so what it sends would be refused
               headers x-key
               sessions a, b
               events message, status, connection
               warnings The webhook URL is on 127.0.0.1, which to the gateway is the gateway's own machine: give a URL that leads here from there.
";
    assert!(
        ran.status == 0 && ran.printed.contains(expected),
        "{}",
        ran.printed
    );
    assert!(!ran.printed.contains("hidden"));
}
