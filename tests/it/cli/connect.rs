//! `offhook check --connect` says how the database is. Here there is none: what can be wrong with one has tests
//! beside the engine.

use std::fs::write;
use std::net::TcpListener;

use serde_json::Value;

use crate::support::{Folder, Ran, offhook};

fn check(folder: &Folder, more: &[&str]) -> Ran {
    let mut command = offhook(&["check"]);
    command.args(more).current_dir(&folder.0);
    command.output().unwrap().into()
}

fn folder(name: &str, journal: &str) -> Folder {
    let folder = Folder::new(name);
    let text =
        format!("[journal]\n{journal}\n[[sources]]\nname = \"own\"\nsecrets = [\"hidden-1\"]\n");
    write(folder.0.join("settings.toml"), text).unwrap();
    folder
}

#[test]
fn a_database_that_is_away_is_told() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let url = format!("postgresql://offhook:hidden-2@127.0.0.1:{port}/offhook");
    let journal = format!("engine = \"postgres\"\nurl = \"{url}\"");
    let folder = folder("cli-connect", &journal);
    // Without being asked it connects to nothing.
    let ran = check(&folder, &[]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let ran = check(&folder, &["--connect"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    for part in ["database: cannot be used", "connection ", "refused"] {
        assert!(ran.printed.contains(part), "{part}: {ran:?}");
    }
    let json = check(&folder, &["--connect", "--json"]);
    assert_eq!(json.status, 1, "{json:?}");
    let answer = json.json();
    assert_eq!(answer["ok"], Value::Bool(false));
    assert_eq!(answer["database"][0]["what"], "connection");
    assert_eq!(answer["database"][0]["verdict"], "unfit");
    assert_eq!(answer["problems"][0]["key"], "journal");
    for ran in [ran, json] {
        assert!(!format!("{ran:?}").contains("hidden"), "{ran:?}");
    }
}

/// A start reads these files before it connects, so they are looked at without `--connect` too.
#[test]
fn certificates_that_cannot_be_read_are_told() {
    let url = "url = \"postgresql://offhook@db.example/offhook\"";
    let journal = |tls: &str| format!("engine = \"postgres\"\n{url}\ntls = {{ {tls} }}");
    let with = |tls: &str| {
        let folder = folder("cli-connect-tls", &journal(tls));
        write(folder.0.join("empty.pem"), "").unwrap();
        check(&folder, &[])
    };
    for (tls, why) in [
        ("ca = \"none.pem\"", "none.pem"),
        ("ca = \"empty.pem\"", "it holds no certificate in PEM"),
        ("certificate = \"none.pem\", key = \"none.key\"", "none.pem"),
    ] {
        let ran = with(tls);
        assert_eq!(ran.status, 1, "{tls}: {ran:?}");
        for part in ["journal.tls: ", why] {
            assert!(ran.said.contains(part), "{part}: {ran:?}");
        }
    }
    let folder = folder("cli-connect-tls", &journal("ca = \"none.pem\""));
    let json = check(&folder, &["--json"]).json();
    assert_eq!(json["problems"][0]["key"], "journal.tls", "{json}");
}

#[test]
fn another_engine_connects_to_nothing() {
    let folder = folder("cli-connect-none", "engine = \"sqlite\"");
    let ran = check(&folder, &["--connect"]);
    assert_eq!(ran.status, 2, "{ran:?}");
    assert!(ran.said.contains("--connect"), "{ran:?}");
}
