//! The command line: what the real program prints, and its exit status.

mod connect;
mod health;
mod init;
mod settings;

use std::fs::write;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;

use offhook::EventKind;
use serde_json::Value;

use crate::support::{
    DOCUMENTED, Folder, KEY, PRINTED, Program, Ran, address_in, bounded, offhook as command,
    recording, run,
};

const SIGNATURE: &str = "75b621fabb36627311b1338288b97f0a826548e361d39e1d1c51a60fe5f18cad";

/// Runs with `body` on standard input.
fn run_with(body: &str, arguments: &[&str]) -> Ran {
    let mut command = command(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(body.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap().into()
}

/// Sends to `address` while the server goes on.
async fn send(address: SocketAddr, arguments: &[&str]) -> Ran {
    let url = format!("http://{address}/webhook");
    let mut command = command(&["send", &url]);
    command.args(arguments);
    let ran = tokio::task::spawn_blocking(move || command.output().unwrap());
    bounded(ran).await.unwrap().into()
}

#[test]
fn bad_settings_are_told_one_and_all() {
    let folder = Folder::new("cli-bad");
    let file = folder.0.join("settings.toml");
    let text = "[server]\nbind = \"nowhere\"\ncolour = 1\n[[sources]]\nname = \"x\"\n\
                secrets = [\"env:OFFHOOK_TEST_NO_SUCH_VARIABLE\"]\n";
    write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    for command in ["serve", "check"] {
        let ran = run(&[command, "--settings", file]);
        assert_eq!((ran.status, ran.printed.as_str()), (1, ""), "{ran:?}");
        let lines: Vec<_> = ran.said.lines().collect();
        let keys = ["server.bind", "server.colour", "sources[0].secrets[0]"];
        for (line, key) in lines.iter().zip(keys) {
            assert!(line.starts_with(&format!("{file}: {key}: ")), "{line}");
        }
        assert!(
            lines[3].starts_with("error: 3 problems in the settings"),
            "{ran:?}"
        );
        assert_eq!(lines.len(), 4, "{ran:?}");
    }
    let json = run(&["check", "--json", "--settings", file]);
    assert_eq!((json.status, &json.json()["ok"]), (1, &Value::Bool(false)));
    assert_eq!(json.json()["problems"].as_array().unwrap().len(), 3);
    let none = folder.0.join("none.toml");
    let ran = run(&["--settings", none.to_str().unwrap()]);
    assert_eq!(ran.status, 1);
    assert!(ran.said.contains("there is no such file"), "{ran:?}");
    assert!(ran.said.contains(" init` writes"), "{ran:?}");
}

#[test]
fn good_settings_are_summed_up_without_their_secrets() {
    let folder = Folder::new("cli-good");
    let file = folder.0.join("settings.toml");
    let token = "0123456789-hidden";
    let text = format!(
        "[admin]\ntoken = \"hidden-admin\"\n\
         [[sources]]\nname = \"own\"\nsecrets = [\"hidden-own\"]\n\
         sessions.\"408f\".secrets = [\"hidden-session\"]\n\
         [[sources]]\nname = \"open\"\npath = \"/open\"\nunsigned = true\npath_token = \"{token}\"\n\
         [[handlers]]\nname = \"script\"\nuse = \"exec\"\ncommand = [\"true\"]\nenv = {{ KEY = \"hidden\" }}\n"
    );
    write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let ran = run(&["check", "--settings", file]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let parts = [
        "/webhook/{session}",
        "/open/{token}",
        "408f",
        "script",
        "KEY",
        "32.0 MiB",
        "timeout 30s",
    ];
    for part in parts {
        assert!(ran.printed.contains(part), "{part}: {ran:?}");
    }
    let json = run(&["check", "--json", "--settings", file]);
    assert_eq!(json.status, 0);
    assert_eq!(json.json()["summary"]["sources"][0]["name"], "own");
    let fingerprint = json.json()["summary"]["fingerprint"].clone();
    assert!(
        ran.printed.contains(fingerprint.as_str().unwrap()),
        "{ran:?}"
    );
    for ran in [ran, json] {
        assert!(!format!("{ran:?}").contains("hidden"), "{ran:?}");
    }
}

#[test]
fn what_serve_says_to_try_works() {
    let folder = Folder::new("cli-serve");
    let settings = folder.0.join("settings.toml");
    let text = format!(
        "[[sources]]\nname = \"g\"\nsecrets = [\"{KEY}\"]\n\
         [[handlers]]\nname = \"console\"\nuse = \"log\"\n"
    );
    write(&settings, text).unwrap();
    let mut serve = command(&[]);
    serve.current_dir(&folder.0);
    for listener in ["SERVER", "ADMIN"] {
        serve.env(format!("OFFHOOK__{listener}__BIND"), "127.0.0.1:0");
    }
    let program = Program::start(&mut serve);
    let address = address_in(&program.logged("webhooks"));
    let curl = program.logged("curl http");
    let signature = program.logged("X-Webhook-Signature");
    let body = program.logged("-d '");
    assert!(
        curl.contains(&format!("http://{address}/webhook ")),
        "{curl}"
    );
    assert!(signature.contains(SIGNATURE), "{signature}");
    assert!(body.contains(DOCUMENTED[0]), "{body}");

    let url = format!("http://{address}/webhook");
    let sent = run(&["send", &url]);
    assert_eq!(sent.status, 0, "{sent:?}");
    assert!(
        sent.printed.contains(r#"200 {"status":"received"}"#),
        "{sent:?}"
    );
    assert_eq!(program.line(), PRINTED[0]);
    assert!(program.stop().is_empty());
}

#[test]
fn a_body_is_signed_as_documented() {
    let printed = format!("X-Webhook-Signature: {SIGNATURE}\n");
    let ran = run_with(DOCUMENTED[0], &["sign", "--secret", KEY]);
    assert_eq!((ran.status, ran.printed), (0, printed));
    let json = run_with(DOCUMENTED[0], &["sign", "--secret", KEY, "--json"]);
    assert_eq!(json.json()["X-Webhook-Signature"], SIGNATURE);
    let github = [
        "--scheme",
        "hmac",
        "--header",
        "X-Hub-Signature-256",
        "--prefix",
        "sha256=",
    ];
    let ran = run_with(
        DOCUMENTED[0],
        &[&["sign", "--secret", KEY], &github[..]].concat(),
    );
    assert_eq!(
        ran.printed,
        format!("X-Hub-Signature-256: sha256={SIGNATURE}\n")
    );
}

#[test]
fn an_invalid_signature_is_explained() {
    let base64 = "dbYh+rs2YnMRsTOCiLl/CoJlSONh054dHFGmD+XxjK0=";
    let line_break = format!("{}\n", DOCUMENTED[0]);
    let spaced = DOCUMENTED[0]
        .replace("\",\"", "\", \"")
        .replace("\":\"", "\": \"");
    let table = [
        (DOCUMENTED[0], KEY, SIGNATURE, 0, "valid"),
        (DOCUMENTED[0], KEY, &SIGNATURE.to_uppercase(), 0, "valid"),
        (DOCUMENTED[0], KEY, base64, 1, "base64, not hexadecimal"),
        (DOCUMENTED[0], KEY, "", 1, "there is no signature"),
        (
            DOCUMENTED[0],
            KEY,
            &SIGNATURE[..40],
            1,
            "as many as SHA-1 gives",
        ),
        (
            DOCUMENTED[0],
            "other",
            SIGNATURE,
            1,
            "that the gateway's documentation prints",
        ),
        (DOCUMENTED[0], " your-secret-key", SIGNATURE, 1, "made"),
        (
            DOCUMENTED[1],
            KEY,
            SIGNATURE,
            1,
            "another secret or an altered body",
        ),
        (&line_break, KEY, SIGNATURE, 1, "a line break at its end"),
        (&spaced, KEY, SIGNATURE, 1, "written compactly"),
    ];
    for (body, secret, signature, status, text) in table {
        let ran = run_with(
            body,
            &["verify", "--secret", secret, "--signature", signature],
        );
        assert_eq!(ran.status, status, "{ran:?}");
        assert!(ran.printed.contains(text), "{text}: {ran:?}");
        assert!(status == 0 || !ran.printed.contains(SIGNATURE), "{ran:?}");
    }
    // Other schemes: the base64 of the same HMAC, and a header that is missing.
    let hmac = [
        "--scheme",
        "hmac",
        "--header",
        "X-Sig",
        "--encoding",
        "base64",
    ];
    let arguments = ["verify", "--secret", KEY, "--signature", base64];
    let ran = run_with(DOCUMENTED[0], &[&arguments[..], &hmac].concat());
    assert_eq!((ran.status, ran.printed.trim()), (0, "valid"), "{ran:?}");
    let standard = [
        "--scheme",
        "standard-webhooks",
        "--sent",
        "webhook-id: msg_1",
    ];
    let ran = run_with(DOCUMENTED[0], &[&arguments[..], &standard].concat());
    assert_eq!(ran.status, 1, "{ran:?}");
    for text in [
        "the header webhook-timestamp is missing",
        "v1, is missing in front of it",
    ] {
        assert!(ran.printed.contains(text), "{text}: {ran:?}");
    }
    let arguments = ["verify", "--json", "--secret", KEY, "--signature", base64];
    let json = run_with(DOCUMENTED[0], &arguments).json();
    assert_eq!(
        (&json["valid"], &json["reasons"][0]["reason"]),
        (&false.into(), &"base64".into())
    );
}

#[test]
fn a_usage_error_has_its_own_status() {
    let table: [&[&str]; 13] = [
        &["serv"],
        &["serve", "--port", "1"],
        &["sign"],
        &["sign", "/no/such/file", "--secret", "x"],
        &["sign", "--secret", "env:OFFHOOK_TEST_NO_SUCH_VARIABLE"],
        &["sign", "--secret", "x", "--header", "X"],
        &["sign", "--secret", "x", "--scheme", "hmac"],
        &["sign", "--secret", "x", "--id", "1"],
        &["verify", "--secret", "", "--signature", SIGNATURE],
        &["send", "--count", "0"],
        &["send", "--event", "unknown"],
        &["send", "--event", "status", "--file", "-"],
        &["send", "localhost:5000/webhook"],
    ];
    for arguments in table {
        let ran = run(arguments);
        assert_eq!(
            (ran.status, ran.printed.as_str()),
            (2, ""),
            "{arguments:?}: {ran:?}"
        );
        assert!(ran.said.starts_with("error: "), "{ran:?}");
    }
}

#[actix_web::test]
async fn each_kind_is_sent_in_its_documented_shape() {
    let (server, recorder) = recording(|offhook| offhook).await;
    let address = server.public_address();
    for kind in ["message", "status", "connection"] {
        let sent = send(address, &["--event", kind, "--json"]).await;
        assert_eq!(
            (sent.status, &sent.json()["status"]),
            (0, &200.into()),
            "{sent:?}"
        );
    }
    let kinds: Vec<_> = recorder.events().iter().map(offhook::Event::kind).collect();
    assert_eq!(
        kinds,
        [EventKind::Message, EventKind::Status, EventKind::Connection]
    );
    for event in recorder.events() {
        assert!(event.extra().is_empty(), "{event:?}");
    }
    server.stop().await;
}

#[actix_web::test]
async fn a_file_is_sent_byte_for_byte() {
    let (server, recorder) = recording(|offhook| offhook).await;
    let folder = Folder::new("cli-file");
    let file = folder.0.join("body");
    let bytes = b" no json \xff\r\n\n";
    write(&file, bytes).unwrap();
    let sent = send(server.public_address(), &["--file", file.to_str().unwrap()]).await;
    assert_eq!(sent.status, 0, "{sent:?}");
    assert_eq!(&recorder.deliveries()[0].body()[..], bytes);
    server.stop().await;
}

#[actix_web::test]
async fn many_events_are_sent_once_and_counted() {
    let (server, recorder) = recording(|offhook| offhook).await;
    for more in [&[][..], &["--rate", "2000", "--conns", "3"]] {
        let before = recorder.events().len();
        let arguments = [&["--count", "50", "--json"], more].concat();
        let sent = send(server.public_address(), &arguments).await;
        assert_eq!((sent.status, sent.said.as_str()), (0, ""), "{sent:?}");
        let summary = sent.json();
        assert_eq!(
            (&summary["sent"], &summary["ok"]),
            (&50.into(), &50.into()),
            "{sent:?}"
        );
        assert!(
            summary["latency_ms"]["p99.9"].as_f64().unwrap() > 0.0,
            "{sent:?}"
        );
        assert_eq!(recorder.events().len() - before, 50);
    }
    let ids = recorder.events();
    let ids = ids.iter().map(|event| match event {
        offhook::Event::Message(message) => message.message_id.clone().unwrap(),
        other => panic!("{other:?}"),
    });
    let ids: std::collections::BTreeSet<_> = ids.collect();
    assert_eq!(ids.len(), 100);
    server.stop().await;
}

#[actix_web::test]
async fn a_failed_send_says_what_to_do() {
    let (server, recorder) = recording(|offhook| offhook).await;
    let address = server.public_address();
    let refused = send(address, &["--secret", "wrong"]).await;
    assert_eq!(refused.status, 1);
    assert!(refused.printed.contains("401"), "{refused:?}");
    assert!(refused.said.contains("another secret"), "{refused:?}");
    let many = send(address, &["--secret", "wrong", "--count", "5", "--json"]).await;
    assert_eq!(
        (many.status, &many.json()["other_statuses"]["401"]),
        (1, &5.into())
    );
    recorder.fail_next(1);
    let failed = send(address, &[]).await;
    assert_eq!(failed.status, 1);
    assert!(failed.printed.contains("500"), "{failed:?}");
    server.stop().await;
    let unreached = send(address, &[]).await;
    assert_eq!(unreached.status, 1);
    assert!(
        unreached.said.contains("connection refused"),
        "{unreached:?}"
    );
    assert!(
        unreached.said.contains("Is the receiver running?"),
        "{unreached:?}"
    );
}

#[test]
fn completions_and_help_go_to_standard_output() {
    for arguments in [
        &["completions", "bash"][..],
        &["completions", "fish"],
        &["--help"],
        &["-V"],
    ] {
        let ran = run(arguments);
        assert_eq!((ran.status, ran.said.as_str()), (0, ""), "{ran:?}");
        assert!(ran.printed.contains("offhook"), "{ran:?}");
    }
}

/// As in `offhook check | head -1`: also where the program writes more than a pipe holds.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/settings.toml");
    let commands: [&[&str]; 6] = [
        &["check", "--settings", file],
        &["check", "--json", "--settings", file],
        &["completions", "zsh"],
        &["sign", "--secret", "x"],
        &["--help"],
        &["health", "--admin", "http://127.0.0.1:1"],
    ];
    for arguments in commands {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = command(arguments);
        let command = command.stdout(writer).stderr(Stdio::piped());
        let ran: Ran = command.output().unwrap().into();
        assert!(
            matches!(ran.status, 0 | 1) && ran.said.is_empty(),
            "{ran:?}"
        );
    }
}

#[test]
fn closed_standard_error_is_no_fault() {
    for arguments in [&["check", "--settings", "/no/such/file"][..], &["serv"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = command(arguments);
        let command = command.stderr(writer).stdout(Stdio::piped());
        let ran: Ran = command.output().unwrap().into();
        assert!(matches!(ran.status, 1 | 2), "{ran:?}");
    }
}
