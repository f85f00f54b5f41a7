//! The log as JSON: each line is one object, whatever senders and administrators say; and a line for systemd's
//! journal.

use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

use offhook::testing::{TestEvent, TestRequest};
use serde_json::Value;

use crate::served::{Served, command, settings, until};
use crate::support::{Folder, KEY, Raw, ask, run, secret, signed};

const SETTINGS: &str = r#"
[log]
format = "json"
level = "debug"
[[sources]]
name = "timed"
path = "/timed"
scheme = "hmac"
header = "X-Sig"
template = "{timestamp:X-Time}{body}"
secrets = ["a third secret"]
[[handlers]]
name = "failing"
use = "exec"
command = ["false"]
retry = { first = "1ms", factor = 1.0, attempts = 2 }
"#;

/// What a line may have.
const FIELDS: [&str; 16] = [
    "at", "level", "message", "target", "event", "refused", "source", "session", "consumer",
    "attempt", "outcome", "status", "took_ms", "peer", "settings", "actor",
];

/// Names that would end a line or an object, or begin an escape sequence.
const HOSTILE: [&str; 6] = [
    "a\nb",
    "\"},{\"",
    "\u{1b}[31m",
    "\u{9b}0m\u{2028}",
    "\\",
    "\u{0}\u{202e}x",
];

/// The lines, each of which must be one object of known fields.
fn objects(logged: &str) -> Vec<Value> {
    let read = |line: &str| {
        let value: Value = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("{error}: {line:?} in {logged}"));
        let object = value.as_object().unwrap();
        for name in object.keys() {
            assert!(FIELDS.contains(&name.as_str()), "{name}: {line}");
        }
        for name in &FIELDS[..4] {
            assert!(object[*name].is_string(), "{name}: {line}");
        }
        assert!(!line.contains(char::is_control), "{line:?}");
        value
    };
    logged.lines().map(read).collect()
}

#[actix_web::test]
async fn each_line_of_json_is_one_object() {
    let folder = Folder::new("logs-json");
    settings(&folder, SETTINGS);
    let served = Served::start(&folder);
    let bodies = include_bytes!("../payloads/known.jsonl");
    for body in bodies.split(|byte| *byte == b'\n') {
        assert_eq!(signed(body).send(served.public).await.status, 200);
    }
    for name in HOSTILE {
        let event = TestEvent::message(name, name).session(name).id(name);
        assert_eq!(
            event.sign(&secret(KEY)).send(served.public).await.status,
            200
        );
        let wrong = event.sign(&secret(name));
        assert_eq!(wrong.send(served.public).await.status, 401);
    }
    for path in ["/%0a%1b%22", "/timed/%22%7d", "/\"}{\"", "/\u{7f}"] {
        let mut raw = Raw::connect(served.public).await;
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: \"\r\n\r\n"))
            .await;
        raw.rest().await;
    }
    let untimed = TestRequest::post("{}")
        .path("/timed")
        .header("X-Sig", "\"}\t{\"");
    assert_eq!(untimed.send(served.public).await.status, 401);
    until("all have failed", async || {
        let (_, listed) = ask(served.admin, "GET", "/api/consumers", "").await;
        listed["consumers"][0]["lag"] == 0
    })
    .await;
    // An invalid file has a line for each problem.
    let file = folder.0.join("settings.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{good}\n\"odd\\n\\u001b\" = 1\n")).unwrap();
    let (status, _) = ask(served.admin, "POST", "/api/reload", "").await;
    assert_eq!(status, 422);
    served.program.signal("TERM");
    let lines = objects(&served.program.all_logged());
    let of = |name: &str| lines.iter().filter(|line| !line[name].is_null()).count();
    assert!(of("event") > 10 && of("consumer") > 0, "{lines:#?}");
    assert!(of("peer") > 2 && of("status") > 2, "{lines:#?}");
    let failed = lines.iter().find(|line| line["attempt"] == 1).unwrap();
    let event = failed["event"].as_str().unwrap();
    assert!(
        failed["message"].as_str().unwrap().contains(event),
        "{failed}"
    );
}

/// One line for each change, with its actor: the API, a signal, a file.
#[actix_web::test]
async fn each_change_names_its_actor() {
    let folder = Folder::new("logs-actor");
    settings(&folder, "[log]\nformat = \"json\"\n[refused]\nkeep = 8\n");
    let served = Served::start(&folder);
    let file = folder.0.join("settings.toml");
    let keep = |number: u32| {
        let text = std::fs::read_to_string(&file).unwrap();
        let at = text.find("keep = ").unwrap();
        std::fs::write(&file, format!("{}keep = {number}\n", &text[..at])).unwrap();
    };
    let mut all = String::new();
    let mut reloaded = |words: &str| {
        let line = served.program.logged(words);
        all.push_str(&line);
        all.push('\n');
        objects(&line).remove(0)
    };
    keep(9);
    let by_file = reloaded("settings reloaded");
    assert_eq!(by_file["actor"], "file", "{by_file}");
    assert_eq!(by_file["settings"].as_str().unwrap().len(), 16);
    let (status, answer) = ask(
        served.admin,
        "POST",
        "/sessions/s/webhook",
        r#"{"webhookUrl":"https://crm.example/"}"#,
    )
    .await;
    assert_eq!(status, 201, "{answer}");
    let by_api = reloaded("has asked for POST");
    assert_eq!(by_api["actor"], "administrator", "{by_api}");
    assert_eq!(
        (&by_api["status"], &by_api["peer"]),
        (&201.into(), &"127.0.0.1".into())
    );
    served.program.signal("HUP");
    let by_signal = reloaded("SIGHUP");
    assert_eq!(by_signal["actor"], "signal", "{by_signal}");
    // The form and the level follow a reload.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"json\"", "\"text\"")).unwrap();
    let line = served.program.logged("settings reloaded");
    assert!(line.contains(" INFO  settings reloaded: "), "{line}");
    served.program.signal("TERM");
    served.program.all_logged();
}

/// `JOURNAL_STREAM` names the device and the inode of the journal's stream.
#[test]
fn the_journal_gets_priorities_and_no_times() {
    let folder = Folder::new("logs-journald");
    settings(&folder, "");
    let path = folder.0.join("journal-stream");
    let start = |stream: &str| {
        let log = std::fs::File::create(&path).unwrap();
        let found = log.metadata().unwrap();
        let own = format!("{}:{}", found.dev(), found.ino());
        let mut command = command(&folder);
        let stream = if stream.is_empty() { &own } else { stream };
        command
            .env("JOURNAL_STREAM", stream)
            .stderr(Stdio::from(log));
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let text = loop {
            let text = std::fs::read_to_string(&path).unwrap();
            if text.contains("is listening") {
                break text;
            }
            assert!(child.try_wait().unwrap().is_none(), "{text}");
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        };
        let stopped = std::process::Command::new("kill")
            .arg(child.id().to_string())
            .status();
        assert!(stopped.unwrap().success());
        assert!(child.wait().unwrap().success());
        drop(text);
        std::fs::read_to_string(&path).unwrap()
    };
    let journal = start("");
    assert!(journal.contains("\n<6>stopped\n"), "{journal}");
    // Of another service: standard error is a file now.
    let file = start("1:2");
    assert!(
        !file.contains("<6>") && file.contains(" INFO  stopped"),
        "{file}"
    );
}

#[test]
fn a_wrong_form_or_level_is_a_problem() {
    let folder = Folder::new("logs-wrong");
    settings(&folder, "[log]\nformat = \"xml\"\nlevel = \"loud\"\n");
    let file = folder.0.join("settings.toml");
    let ran = run(&["check", "--settings", file.to_str().unwrap()]);
    for words in ["log.format", "text, json", "log.level", "info, debug"] {
        assert!(
            ran.said.contains(words) || ran.printed.contains(words),
            "{words}: {ran:?}"
        );
    }
}
