//! `offhook tail`: every event once and in order, over restarts of the server; and forwarding to a program.

use std::process::Command;

use offhook::signature::{Scheme as _, StandardWebhooks, XWebhookSignature};
use offhook::testing::{TestEvent, TestRequest, TestSubscriber};
use serde_json::Value;

use crate::served::{self, Served, settings};
use crate::support::{DOCUMENTED, Folder, Program, offhook, run, secret, signed};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// `offhook tail` at this server.
fn tail(served: &Served, more: &[&str]) -> Command {
    let admin = format!("http://{}", served.admin);
    let mut command = offhook(&["tail", "--admin", &admin]);
    command.args(more);
    command
}

/// Begins to tail, and returns when it has a place.
async fn started(at: &Served, more: &[&str]) -> Program {
    let before = watching(at).await;
    let program = Program::start(&mut tail(at, more));
    served::until("it watches", async || watching(at).await > before).await;
    program
}

async fn watching(at: &Served) -> u64 {
    let answer = TestRequest::get("/api/stats").send(at.admin).await;
    let stats: Value = serde_json::from_slice(&answer.body).unwrap();
    stats["viewers"].as_u64().unwrap()
}

async fn send(served: &Served, body: &str) {
    let answer = served.try_send(&signed(body)).await.unwrap();
    assert_eq!(answer.status, 200);
}

fn number(line: &str) -> u64 {
    let event: Value = serde_json::from_str(line).unwrap();
    event["seq"].as_u64().unwrap()
}

#[actix_web::test]
async fn events_are_shown_as_they_come() {
    let folder = Folder::new("tail");
    settings(&folder, "");
    let served = Served::start(&folder);
    send(&served, DOCUMENTED[0]).await;
    let from_start = Program::start(&mut tail(&served, &["--from", "1h"]));
    let line = from_start.line();
    let session = "408f7372-f7c9-4299-a8db-326bc5548a73";
    let words = format!(
        "  codeskytz  message  {} bytes  {session}",
        DOCUMENTED[0].len()
    );
    assert!(line.ends_with(&words), "{line}");
    let statuses = started(&served, &["--event", "status", "--json"]).await;
    for body in DOCUMENTED {
        send(&served, body).await;
    }
    assert_eq!(number(&statuses.line()), 2);
    assert!(from_start.line().contains("  status  "));
    assert!(from_start.line().contains("  connection  "));
    statuses.signal("INT");
    assert_eq!(statuses.wait().code(), Some(0));
    assert!(from_start.stop().is_empty());
    served.program.stop();
}

/// From its next start on, the server has the address that it has now.
fn comes_back_at_its_address(folder: &Folder, served: &Served) {
    let path = folder.0.join("settings.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let admin = format!("[admin]\nbind = \"{}\"", served.admin);
    let text = text.replace("[admin]\nbind = \"127.0.0.1:0\"", &admin);
    std::fs::write(&path, text).unwrap();
}

/// A server that has another journal has other events, which are all new.
#[actix_web::test]
async fn another_journal_is_shown_from_its_beginning() {
    let folder = Folder::new("tail-journal");
    settings(&folder, "");
    let served = Served::start(&folder);
    comes_back_at_its_address(&folder, &served);
    let program = started(&served, &["--json"]).await;
    for body in DOCUMENTED {
        send(&served, body).await;
        program.line();
    }
    served.program.stop();
    std::fs::remove_dir_all(folder.0.join("journal")).unwrap();
    let served = Served::start(&folder);
    send(&served, DOCUMENTED[1]).await;
    let skipped: Value = serde_json::from_str(&program.line()).unwrap();
    assert_eq!(skipped["skipped"]["why"], "other_journal");
    assert_eq!(number(&program.line()), 1);
    assert!(program.stop().is_empty());
    served.program.stop();
}

/// What comes while the server is away is not left out, and nothing is shown twice.
#[actix_web::test]
async fn a_restart_of_the_server_loses_nothing() {
    let folder = Folder::new("tail-restart");
    settings(&folder, "");
    let mut served = Served::start(&folder);
    comes_back_at_its_address(&folder, &served);
    let program = started(&served, &["--json"]).await;
    let mut expected = 1;
    for round in 0..4 {
        for number in 0..5 {
            let id = format!("{round}-{number}");
            let event = TestEvent::message("+1", "Hello!").id(&id);
            send(&served, &event.body()).await;
        }
        // Some of them are shown before, others after.
        for _ in 0..=round {
            assert_eq!(number(&program.line()), expected);
            expected += 1;
        }
        if round % 2 == 0 {
            served.program.stop();
        } else {
            served.program.kill();
        }
        served = Served::start(&folder);
    }
    while expected <= 20 {
        assert_eq!(number(&program.line()), expected);
        expected += 1;
    }
    program.signal("INT");
    assert_eq!(program.wait().code(), Some(0));
    served.program.stop();
}

/// A program gets what a subscriber gets, and its answers are shown.
#[actix_web::test]
async fn events_are_forwarded_to_a_program() {
    let folder = Folder::new("tail-forward");
    settings(&folder, "");
    let served = Served::start(&folder);
    let subscriber = TestSubscriber::start();
    let url = subscriber.url();
    let signed_one = started(&served, &["--forward", &url, "--secret", SECRET, "--json"]).await;
    send(&served, DOCUMENTED[0]).await;
    let line: Value = serde_json::from_str(&signed_one.line()).unwrap();
    assert_eq!(
        (&line["status"], &line["event"]["seq"]),
        (&200.into(), &1.into())
    );
    let requests = subscriber.requests();
    assert_eq!(requests.len(), 1);
    let got = &requests[0];
    assert_eq!(got.body, DOCUMENTED[0].as_bytes());
    assert_eq!(got.value("content-type"), Some("application/json"));
    assert_eq!(got.value("webhook-id"), line["event"]["id"].as_str());
    assert_eq!(got.value("offhook-attempt"), Some("1"));
    assert_eq!(
        got.value("offhook-session"),
        Some("408f7372-f7c9-4299-a8db-326bc5548a73")
    );
    let own = XWebhookSignature.sign(&got.body, &secret(SECRET), offhook::Timestamp::UNIX_EPOCH);
    assert_eq!(got.value("x-webhook-signature"), Some(&*own[0].value));
    // As the verifiers of Standard Webhooks do it.
    let (id, at) = ["webhook-id", "webhook-timestamp"]
        .map(|name| got.value(name).unwrap())
        .into();
    let at = offhook::Timestamp::from_second(at.parse().unwrap()).unwrap();
    let standard = StandardWebhooks::default().sign_as(id, &got.body, &secret(SECRET), at);
    for header in standard {
        assert_eq!(
            got.value(&header.name),
            Some(&*header.value),
            "{}",
            header.name
        );
    }
    signed_one.signal("INT");
    assert_eq!(signed_one.wait().code(), Some(0));

    // Without a secret there is no signature. A program that is not there is no reason to end.
    let plain = started(&served, &["--forward", &url]).await;
    send(&served, DOCUMENTED[1]).await;
    assert!(plain.line().contains("  → 200 OK, "));
    let got = &subscriber.requests()[1];
    assert_eq!(got.value("webhook-signature"), None);
    assert!(got.value("webhook-timestamp").is_some() && got.value("webhook-id").is_some());
    let nowhere = started(&served, &["--forward", "http://127.0.0.1:9/"]).await;
    send(&served, DOCUMENTED[2]).await;
    assert!(nowhere.line().ends_with("→ connection refused"));
    assert!(nowhere.stop().is_empty());
    plain.line();
    assert!(plain.stop().is_empty());
    served.program.stop();
}

#[test]
fn odd_options_are_refused() {
    for (options, said) in [
        (
            &["--forward", "localhost:3000"][..],
            "expected a URL such as",
        ),
        (&["--forward", "ftp://x/"], "expected a URL such as"),
        (&["--secret", "x"], "--forward"),
        (&["--event", "mesage"], "possible values"),
        (&["--from", "yesterday"], "expected a time"),
        (&["--state", "dead"], "unexpected argument"),
        (&["one"], "unexpected argument"),
    ] {
        let ran = run(&[&["tail"], options].concat());
        assert_eq!(ran.status, 2, "{options:?}: {ran:?}");
        assert!(ran.said.contains(said), "{options:?}: {ran:?}");
    }
    // No server listens there.
    let ran = run(&["tail", "--admin", "http://127.0.0.1:9"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.said.contains("Is offhook running?"), "{ran:?}");
}

#[actix_web::test]
async fn a_wrong_token_ends_it() {
    let folder = Folder::new("tail-token");
    settings(&folder, "");
    let path = folder.0.join("settings.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("[admin]\n", "[admin]\ntoken = \"a-token\"\n");
    std::fs::write(&path, text).unwrap();
    let served = Served::start(&folder);
    let ran: crate::support::Ran = tail(&served, &["--token", "another"])
        .output()
        .unwrap()
        .into();
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(
        ran.said.contains("That is not the server's admin token"),
        "{ran:?}"
    );
    served.program.stop();
}
