//! Their JSON, the token, and what they say where there is no answer.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use super::ID;
use super::stub::{ask, ask_with};
use crate::support::{Folder, run};

#[test]
fn json_is_printed_as_it_came() {
    let page = "{\"events\": [],\n  \"later\": \"\u{9b}é\", \"next\": null}\n";
    let (_, ran) = ask(&["events", "--json"], 200, page);
    assert_eq!(
        (ran.status, ran.printed),
        (0, page.replace('\u{9b}', "\\u009b"))
    );
    let refusal = r#"{"success":false,"error":"no such event","code":"not_found"}"#;
    let (_, ran) = ask(&["events", ID, "--json"], 404, refusal);
    assert_eq!((ran.status, ran.printed.trim_end()), (1, refusal));
}

#[test]
fn only_the_server_sees_the_token() {
    let none = r#"{"consumers":[]}"#;
    let folder = Folder::new("cli-token");
    let file = folder.0.join("token");
    std::fs::write(&file, "s3cret\n").unwrap();
    let file = format!("file:{}", file.display());
    for token in ["s3cret", "env:OFFHOOK_TEST_TOKEN", &file] {
        let (asked, ran) = ask_with(&["consumers", "--token", token], 200, none, |command| {
            command.env("OFFHOOK_TEST_TOKEN", "s3cret");
        });
        assert_eq!(
            asked.authorization.as_deref(),
            Some("Bearer s3cret"),
            "{ran:?}"
        );
    }
    let with_token = |command: &mut Command| {
        command.env("OFFHOOK_ADMIN_TOKEN", "s3cret");
    };
    let refusal = r#"{"success":false,"error":"a token is needed","code":"unauthorized"}"#;
    let (asked, ran) = ask_with(&["dead", "replay", "--all"], 401, refusal, with_token);
    assert_eq!(asked.authorization.as_deref(), Some("Bearer s3cret"));
    assert!(ran.said.contains("not the server's admin token"), "{ran:?}");
    assert!(!ran.said.contains("s3cret"), "{ran:?}");
    let (_, ran) = ask(&["consumers"], 401, refusal);
    assert_eq!(ran.status, 1);
    assert!(
        ran.said.contains("--token or in OFFHOOK_ADMIN_TOKEN"),
        "{ran:?}"
    );
    let (_, help) = ask_with(&["events", "--help"], 200, none, with_token);
    assert!(
        help.status == 0 && !help.printed.contains("s3cret"),
        "{help:?}"
    );
}

#[test]
fn every_failure_says_what_to_do() {
    let table = [
        (
            404,
            r#"{"error":"there is no event x\u001b"}"#,
            r"error: there is no event x\u{001b}",
        ),
        (
            404,
            r#"{"success":false,"error":"Not found"}"#,
            "offhook's admin listener",
        ),
        (
            503,
            r#"{"error":"the journal cannot read"}"#,
            "the journal cannot read\n(GET http://",
        ),
        (500, "oops", "answered 500"),
        (302, "", "Redirects are not followed"),
        (200, "<html>", "offhook's admin listener"),
        (200, r#"{"events":5}"#, "of the same version"),
    ];
    for (status, body, text) in table {
        let (_, ran) = ask(&["events"], status, body);
        assert_eq!((ran.status, ran.printed.as_str()), (1, ""), "{ran:?}");
        assert!(ran.said.contains(text), "{text}: {ran:?}");
    }
    let nobody: SocketAddr = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let ran = run(&["events", "--admin", &format!("http://{nobody}")]);
    assert_eq!(ran.status, 1);
    assert!(
        ran.said.contains("connection refused\nIs offhook running?"),
        "{ran:?}"
    );
    assert!(ran.said.contains("--admin"), "{ran:?}");
}

#[test]
fn what_cannot_be_asked_is_not() {
    let table: [&[&str]; 17] = [
        &["dead", "--limit", "5", "replay", "--all"],
        &["dead", "--consumer", "c", "list"],
        &["events", ".."],
        &["events", ID, "--state", "dead"],
        &["events", "--state", "odd"],
        &["events", "--limit", "501"],
        &["events", "--admin", "localhost:5001"],
        &["events", "--admin", "http://user:pass@localhost:5001"],
        &["events", "--token", "env:OFFHOOK_TEST_NO_SUCH_VARIABLE"],
        &["events", "--token", "two\nlines"],
        &["dead", "replay"],
        &["dead", "replay", ID, "--all"],
        &["dead", "delete"],
        &["replay"],
        &["replay", "--rate", "5"],
        &["replay", "--from", "yesterday"],
        &["replay", "--from", "1h", "--to", "2h"],
    ];
    for arguments in table {
        let (asked, ran) = ask(arguments, 200, "{}");
        assert_eq!((ran.status, ran.printed.as_str()), (2, ""), "{ran:?}");
        assert!(ran.said.starts_with("error: "), "{ran:?}");
        assert_eq!(asked.line, "", "{arguments:?}");
    }
}
