//! The commands that look first, and those that test: what they ask, and what they print of the answer.

use serde_json::{Value, json};

use super::ask;
use crate::support::Folder;

fn shown() -> Value {
    json!({
        "matched": 3, "replayed": 0, "plan": { "id": "p\u{1b}", "to": "2025-01-08T13:00:00Z" },
        "expires_at": "2025-01-08T13:10:00Z", "oldest": "2025-01-08T12:00:00Z", "newest": "2025-01-08T12:30:00Z",
        "bytes": 4096, "conversations": 2, "done": 2, "dead": 1, "pending": 0, "takes_s": null,
        "by_consumer": [{ "name": "handler:a\u{1b}", "would_get": 1 }],
    })
}

#[test]
fn a_dry_run_says_what_would_happen() {
    let (_, ran) = ask(&["replay", "--dry-run"], 200, &shown().to_string());
    let lines: Vec<_> = ran
        .printed
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let expected = [
        "3 events match; none was replayed",
        "received 2025-01-08T12:00:00Z to 2025-01-08T12:30:00Z",
        "size 4.0 KiB",
        "of 2 conversations",
        "now 2 done, 0 pending, 1 dead",
        "handler:a\\u{001b} wants 1 event",
    ];
    assert_eq!(
        (ran.status, lines),
        (0, expected.map(str::to_owned).to_vec())
    );
    assert!(ran.said.contains("until 2025-01-08T13:10:00Z"), "{ran:?}");
}

#[test]
fn a_plan_is_sent_as_it_was_shown() {
    let folder = Folder::new("cli-plan");
    let file = folder.0.join("plan.json");
    std::fs::write(&file, shown().to_string()).unwrap();
    let file = file.to_str().unwrap();
    let (asked, ran) = ask(
        &["replay", "--plan", file],
        200,
        r#"{"matched":3,"replayed":3}"#,
    );
    assert_eq!(asked.line, "POST /api/replay");
    assert_eq!(
        asked.json(),
        json!({ "plan": shown()["plan"], "expected": 3 })
    );
    assert_eq!((ran.status, &*ran.printed), (0, "replayed 3 events\n"));
    let used = r#"{"success":false,"error":"plan p was used already","code":"plan_used"}"#;
    let (_, ran) = ask(&["replay", "--plan", file], 409, used);
    assert_eq!(ran.status, 1);
    assert!(ran.said.contains("was used already"), "{ran:?}");
}

#[test]
fn dead_letters_are_counted_first() {
    let counts = r#"{"matched":2,"deleted":0,"by_consumer":[]}"#;
    let (asked, ran) = ask(
        &["dead", "delete", "--session", "s", "--dry-run"],
        200,
        counts,
    );
    assert_eq!(asked.line, "DELETE /api/dead");
    assert_eq!(asked.json(), json!({ "session": "s", "dry_run": true }));
    assert_eq!(
        (ran.status, &*ran.printed),
        (0, "2 dead letters would be deleted\n")
    );
    let counts = r#"{"matched":2,"replayed":0,"by_consumer":[]}"#;
    let (asked, ran) = ask(&["dead", "replay", "--dry-run"], 200, counts);
    assert_eq!((asked.json(), ran.status), (json!({ "dry_run": true }), 0));
}

#[test]
fn tests_say_what_came_of_them() {
    let answer = json!({ "source": "shop\u{1b}", "session": "s", "reaches": ["handler:a"], "event": "e", "duplicate": false });
    let (asked, ran) = ask(
        &["test", "shop", "--event", "status"],
        200,
        &answer.to_string(),
    );
    assert_eq!(
        (&*asked.line, asked.json()),
        (
            "POST /api/test",
            json!({ "source": "shop", "event": "status" })
        )
    );
    assert!(
        ran.printed
            .contains("shop\\u{001b} has received e of session s; it reaches handler:a"),
        "{ran:?}"
    );
    let answer = json!({
        "delivered": false, "verdict": "500\u{1b}", "status": 500, "took_ms": 4, "resolved": ["127.0.0.1"],
        "resolve_ms": 0, "first_byte_ms": 3, "body_excerpt": "no\u{1b}",
    });
    let (asked, ran) = ask(
        &["subscriptions", "test", "--name", "crm"],
        200,
        &answer.to_string(),
    );
    assert_eq!(asked.line, "POST /api/subscriptions/*/crm/test");
    assert_eq!(ran.status, 1);
    for text in [
        "500\\u{001b}",
        "127.0.0.1 (looked up in 0 ms)",
        "after 3 ms",
        "no\\u{001b}",
    ] {
        assert!(ran.printed.contains(text), "{text}: {ran:?}");
    }
}
