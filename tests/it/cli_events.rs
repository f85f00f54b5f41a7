//! The commands that ask a running server: what they ask it, and what they print of its answer.

mod failures;
mod plans;
mod stub;

use serde_json::{Value, json};

pub use stub::ask;

const ID: &str = "0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17";
const SESSION: &str = "408f7372-f7c9-4299-a8db-326bc5548a73";

fn event(more: &Value) -> Value {
    let mut event = json!({
        "id": ID, "source": "codeskytz", "session": SESSION, "event": "message",
        "name": "message", "received_at": "2025-01-08T12:00:00.100Z", "bytes": 200,
        "state": "done",
    });
    let more = more.as_object().unwrap().clone();
    event.as_object_mut().unwrap().extend(more);
    event
}

#[test]
fn events_are_listed() {
    let odd = json!({ "event": "unknown", "name": "up\u{1b}[2J\ndate", "state": "retrying" });
    let page = json!({ "events": [event(&json!({})), event(&odd)], "next": ID }).to_string();
    let (asked, ran) = ask(&["events"], 200, &page);
    assert_eq!(asked.line, "GET /api/events?limit=50");
    assert_eq!((asked.authorization, ran.status), (None, 0));
    let lines: Vec<_> = ran.printed.lines().collect();
    assert_eq!(lines.len(), 3, "{ran:?}");
    assert!(lines[0].starts_with("ID   "), "{ran:?}");
    assert!(lines[1].starts_with(&format!("{ID}  ")), "{ran:?}");
    assert!(
        lines[1].contains("  done      codeskytz  message "),
        "{ran:?}"
    );
    assert!(lines[1].ends_with(SESSION), "{ran:?}");
    assert!(
        lines[2].contains(r"  retrying  codeskytz  up\u{001b}[2J\ndate  "),
        "{ran:?}"
    );
    assert!(ran.said.contains(&format!("--before {ID}")), "{ran:?}");

    let filters = [
        "events",
        "--session",
        "a&b",
        "--event",
        "status",
        "--state",
        "dead",
        "--before",
        ID,
        "--limit",
        "7",
    ];
    let none = r#"{"events":[],"next":null}"#;
    let (asked, ran) = ask(&filters, 200, none);
    let query = format!("session=a%26b&event=status&state=dead&before={ID}&limit=7");
    assert_eq!(asked.line, format!("GET /api/events?{query}"));
    assert_eq!(
        (ran.status, ran.printed.as_str(), ran.said.as_str()),
        (0, "", "No event.\n")
    );
}

#[test]
fn one_event_has_a_timeline_and_body() {
    let more = json!({
        "timeline": [
            { "at": "2025-01-08T12:00:00.100Z", "what": "received" },
            { "at": "2025-01-08T12:00:00.102Z", "what": "durable" },
            { "at": "2025-01-08T12:00:05Z", "what": "attempt", "consumer": "handler:console",
              "attempt": 1, "outcome": "done" },
        ],
        "body": { "event": "message", "message": "Hello!" },
    });
    let (asked, ran) = ask(&["events", ID], 200, &event(&more).to_string());
    assert_eq!(asked.line, format!("GET /api/events/{ID}"));
    assert_eq!((ran.status, ran.said.as_str()), (0, ""));
    for text in [
        &format!("session       {SESSION}\n"),
        "received      2025-01-08T12:00:00Z (",
        "\n  2025-01-08T12:00:00Z     +2ms  durable\n",
        "\n  2025-01-08T12:00:05Z  +4900ms  handler:console, attempt 1: done\n",
        "\nbody\n  {\"event\":\"message\",\"message\":\"Hello!\"}\n",
    ] {
        assert!(ran.printed.contains(text), "{text}: {}", ran.printed);
    }
}

#[test]
fn events_are_deleted_by_id_or_person() {
    let one = ["events", "delete", ID];
    let (asked, ran) = ask(&one, 200, r#"{"deleted":1}"#);
    assert_eq!(asked.line, format!("DELETE /api/events/{ID}"));
    assert_eq!((ran.status, ran.printed.as_str()), (0, "deleted 1 event\n"));

    let person = json!({ "session": SESSION, "sender": "+12" });
    let dry = json!({ "session": SESSION, "sender": "+12", "dry_run": true });
    let table: [(&[&str], Value, &str); 4] = [
        (&["--sender", "+12"], person.clone(), "deleted 3 events\n"),
        (&["--from", "+12", "--yes"], person, "deleted 3 events\n"),
        (&[], json!({ "session": SESSION }), "deleted 3 events\n"),
        (
            &["--sender", "+12", "--dry-run"],
            dry,
            "3 events fit; none was deleted\n",
        ),
    ];
    for (more, body, printed) in table {
        let arguments = [&["events", "delete", "--session", SESSION], more].concat();
        let (asked, ran) = ask(&arguments, 200, r#"{"deleted":3}"#);
        // A query may be logged on its way.
        assert_eq!(
            (asked.line.as_str(), asked.json()),
            ("DELETE /api/events", body)
        );
        assert_eq!((ran.status, ran.printed.as_str()), (0, printed), "{ran:?}");
    }
    for odd in [
        &["events", "delete"][..],
        &["events", "delete", "--sender", "+12"],
        &["events", "delete", ID, "--session", SESSION],
    ] {
        let (asked, ran) = ask(odd, 200, "{}");
        assert_eq!((ran.status, asked.line.as_str()), (2, ""), "{ran:?}");
    }
}

#[test]
fn dead_letters_are_listed_replayed_and_deleted() {
    let letter = json!({
        "id": ID, "consumer": "handler:crm", "session": SESSION, "event": "message",
        "attempts": 12, "reason": "no\u{1b}answer", "at": "2025-01-08T12:00:00Z",
    });
    let page = json!({ "dead": [letter], "next": null }).to_string();
    for arguments in [&["dead"][..], &["dead", "list"]] {
        let (asked, ran) = ask(arguments, 200, &page);
        assert_eq!(asked.line, "GET /api/dead?limit=50");
        assert_eq!((ran.status, ran.said.as_str()), (0, ""));
        let row = format!("\n{ID}  ");
        let below = "\n  handler:crm, after 12 attempts: no\\u{001b}answer\n";
        assert!(
            ran.printed.contains(&row) && ran.printed.ends_with(below),
            "{ran:?}"
        );
    }
    let filtered = ["dead", "list", "--consumer", "handler:crm", "--limit", "2"];
    let (asked, _) = ask(&filtered, 200, &page);
    assert_eq!(asked.line, "GET /api/dead?consumer=handler%3Acrm&limit=2");

    let table: [(&[&str], Value); 4] = [
        (&[ID], json!({ "id": ID })),
        (
            &[ID, "--consumer", "c"],
            json!({ "id": ID, "consumer": "c" }),
        ),
        (&["--consumer", "c"], json!({ "consumer": "c" })),
        (&["--all"], json!({})),
    ];
    for (arguments, body) in table {
        let arguments = [&["dead", "replay"], arguments].concat();
        let (asked, ran) = ask(&arguments, 200, r#"{"matched":2,"replayed":2}"#);
        assert_eq!(
            (asked.line.as_str(), asked.json()),
            ("POST /api/dead/replay", body)
        );
        assert_eq!(
            (ran.status, ran.printed.as_str()),
            (0, "replayed 2 events\n")
        );
    }
    let (_, ran) = ask(
        &["dead", "replay", ID],
        200,
        r#"{"matched":0,"replayed":0}"#,
    );
    assert_eq!(
        (ran.status, ran.printed.as_str()),
        (1, "no event matches\n")
    );

    let delete = ["dead", "delete", ID, "--consumer", "c"];
    let (asked, ran) = ask(&delete, 200, r#"{"success":true}"#);
    assert_eq!(asked.line, format!("DELETE /api/dead/{ID}?consumer=c"));
    assert_eq!((ran.status, ran.printed.as_str()), (0, "deleted\n"));
}

#[test]
fn what_is_replayed_is_what_was_asked_for() {
    let (from, to) = ("2025-01-08T12:00:00Z", "2025-01-08T13:00:00Z");
    let table: [(&[&str], &str, Value); 5] = [
        (&["--all"], "/api/replay", json!({ "all": true })),
        (&["--dry-run"], "/api/replay", json!({ "dry_run": true })),
        (
            &["--session", "s", "--event", "status", "--rate", "100"],
            "/api/replay",
            json!({ "session": "s", "event": "status", "rate": 100 }),
        ),
        (
            &[
                "--consumer",
                "c",
                "--from",
                "2025-01-08T14:00:00+02:00",
                "--to",
                to,
            ],
            "/api/replay",
            json!({ "consumer": "c", "from": from, "to": to }),
        ),
        (
            &[ID, "--consumer", "c", "--dry-run"],
            &format!("/api/events/{ID}/replay"),
            json!({ "consumer": "c", "dry_run": true }),
        ),
    ];
    for (arguments, path, body) in table {
        let arguments = [&["replay"], arguments].concat();
        let (asked, ran) = ask(&arguments, 200, r#"{"matched":3,"replayed":0}"#);
        let line = format!("POST {path}");
        assert_eq!((&asked.line, asked.json()), (&line, body));
        let text = "3 events match; none was replayed\n";
        assert_eq!((ran.status, ran.printed.as_str()), (0, text), "{ran:?}");
    }
    let (asked, _) = ask(
        &["replay", "--from", "2h"],
        200,
        r#"{"matched":3,"replayed":3}"#,
    );
    let from = asked.json()["from"]
        .as_str()
        .map(str::parse::<offhook::Timestamp>);
    assert!(from.is_some_and(|from| from.is_ok()), "{asked:?}");
}

#[test]
fn what_a_replay_left_out_is_named() {
    let answer = |replayed: u64| {
        json!({
            "matched": 5, "replayed": replayed,
            "left_out": [{ "consumer": "handler:old\u{1b}", "events": 2, "reason": "no\u{1b}" }],
        })
    };
    for (replayed, status, text) in [
        (3, 0, "replayed 3 of 5 events\n"),
        (0, 1, "5 events match; none was replayed\n"),
    ] {
        let answer = answer(replayed).to_string();
        let (_, ran) = ask(&["dead", "replay", "--all"], 200, &answer);
        assert_eq!(
            (ran.status, ran.printed.as_str()),
            (status, text),
            "{ran:?}"
        );
        let left_out =
            "left out: 2 events of handler:old\\u{001b}, which does not run: no\\u{001b}";
        assert!(ran.said.starts_with(left_out), "{ran:?}");
    }
}

#[test]
fn a_long_replay_is_named() {
    let answer = json!({ "replay": ID, "matched": 1200 }).to_string();
    let (_, ran) = ask(&["replay", "--all"], 202, &answer);
    let text = format!("replaying 1200 events as {ID}; `offhook replays` shows how far it is\n");
    assert_eq!((ran.status, ran.printed), (0, text));
}

#[test]
fn replays_are_listed_and_cancelled() {
    let replay = |more: &Value| {
        let mut replay = json!({
            "id": ID, "consumer": "handler:crm", "session": null, "event": null, "from": null,
            "to": null, "rate": null, "asked_at": "2025-01-08T12:00:00Z", "matched": 1200,
            "handed_over": 300, "state": "running",
        });
        let more = more.as_object().unwrap().clone();
        replay.as_object_mut().unwrap().extend(more);
        replay
    };
    let narrow = json!({
        "rate": 100, "state": "cancelled", "session": "s\u{1b}", "from": "2025-01-08T11:00:00Z",
    });
    let all = json!({ "replays": [replay(&json!({})), replay(&narrow)] }).to_string();
    let (asked, ran) = ask(&["replays"], 200, &all);
    assert_eq!((asked.line.as_str(), ran.status), ("GET /api/replays", 0));
    let lines: Vec<_> = ran.printed.lines().collect();
    assert!(lines[0].starts_with("ID   "), "{ran:?}");
    let row = format!("{ID}  handler:crm  running    300/1200     -      ");
    assert!(lines[1].starts_with(&row), "{ran:?}");
    let row = format!("{ID}  handler:crm  cancelled  300/1200     100/s  ");
    assert!(lines[2].starts_with(&row), "{ran:?}");
    let below = "  session s\\u{001b}, from 2025-01-08T11:00:00Z";
    assert_eq!(lines[3..], [below]);
    let (_, ran) = ask(&["replays"], 200, r#"{"replays":[]}"#);
    assert_eq!((ran.status, ran.said.as_str()), (0, "No replay.\n"));

    let cancelled = r#"{"cancelled":["handler:crm","handler:console"]}"#;
    let (asked, ran) = ask(&["replays", "cancel", ID], 200, cancelled);
    assert_eq!(asked.line, format!("DELETE /api/replays/{ID}"));
    let text = "cancelled for handler:crm, handler:console\n";
    assert_eq!((ran.status, ran.printed.as_str()), (0, text));
    let (_, ran) = ask(&["replays", "cancel", ID, "--json"], 200, cancelled);
    assert_eq!((ran.status, ran.printed.trim_end()), (0, cancelled));
    let none = r#"{"success":false,"error":"there is no replay x that runs","code":"not_found"}"#;
    let (_, ran) = ask(&["replays", "cancel", "x"], 404, none);
    assert_eq!((ran.status, ran.printed.as_str()), (1, ""));
    assert!(
        ran.said.contains("there is no replay x that runs"),
        "{ran:?}"
    );
}

#[test]
fn consumers_are_listed_paused_and_resumed() {
    let consumer = json!({
        "name": "handler:console", "kind": "handler", "state": "paused", "lag": 12345,
        "oldest_waiting": "2025-01-08T12:00:00Z", "failing_since": null, "in_flight": 3,
        "in_memory": 12000, "overflowed": 345, "retrying": 2, "panics": 0,
    });
    let all = json!({ "consumers": [&consumer] }).to_string();
    let (asked, ran) = ask(&["consumers"], 200, &all);
    assert_eq!((asked.line.as_str(), ran.status), ("GET /api/consumers", 0));
    let lines: Vec<_> = ran.printed.lines().collect();
    assert!(
        lines[1].starts_with("handler:console  paused  12345  3        "),
        "{ran:?}"
    );
    assert!(lines[1].ends_with(" ago  -"), "{ran:?}");
    let mut suspended = consumer.clone();
    suspended["state"] = "suspended".into();
    suspended["suspended"] = json!({ "since": "2025-01-08T12:00:00Z", "reason": "no\u{1b}answer" });
    let all = json!({ "consumers": [suspended] }).to_string();
    let (_, ran) = ask(&["consumers"], 200, &all);
    let below = ran.printed.lines().last().unwrap();
    assert!(below.starts_with("  suspended "), "{ran:?}");
    let again = "; to let it go on: offhook consumers resume 'handler:console'";
    assert!(
        below.ends_with(&format!(" ago: no\\u{{001b}}answer{again}")),
        "{ran:?}"
    );
    for action in ["pause", "resume"] {
        let arguments = ["consumers", action, "subscription:*:a/b"];
        let (asked, ran) = ask(&arguments, 200, &consumer.to_string());
        let line = format!("POST /api/consumers/subscription:*:a%2Fb/{action}");
        assert_eq!(asked.line, line);
        assert!(ran.status == 0 && ran.printed.contains("paused"), "{ran:?}");
    }
}

/// A subscription that its subscriber has ended stays visible.
#[test]
fn an_ended_consumer_is_listed() {
    let consumer = json!({
        "name": "subscription:*:crm", "kind": "subscription", "state": "ended", "lag": 17,
        "oldest_waiting": null, "in_flight": 0, "panics": 0,
        "ended": { "at": "2025-01-08T12:00:00Z", "reason": "410 Gone\u{1b}" },
    });
    let all = json!({ "consumers": [&consumer] }).to_string();
    let (_, ran) = ask(&["consumers"], 200, &all);
    let lines: Vec<_> = ran.printed.lines().collect();
    assert!(
        lines[1].starts_with("subscription:*:crm  ended  17   0 "),
        "{ran:?}"
    );
    assert!(
        lines[2].starts_with("  ended ") && lines[2].contains(": 410 Gone\\u{001b}; "),
        "{ran:?}"
    );
    let again = "offhook consumers resume 'subscription:*:crm'";
    assert!(lines[2].ends_with(again), "{ran:?}");
    let (_, ran) = ask(
        &["consumers", "show", "subscription:*:crm"],
        200,
        &consumer.to_string(),
    );
    assert!(ran.printed.contains("\nended         "), "{ran:?}");
}

/// A consumer that is restarting cannot say how far it is.
#[test]
fn a_restarting_consumer_is_listed() {
    let consumer = json!({
        "name": "handler:crm", "kind": "handler", "state": "restarting", "lag": null,
        "in_flight": 0, "panics": 2,
    });
    let all = json!({ "consumers": [&consumer] }).to_string();
    let (_, ran) = ask(&["consumers"], 200, &all);
    let lines: Vec<_> = ran.printed.lines().collect();
    assert_eq!(
        lines[1], "handler:crm  restarting  -    0        -       -",
        "{ran:?}"
    );
    let below = "  stopped 2 times by a fault of offhook; the log says more";
    assert_eq!(lines[2..], [below]);
    let (_, ran) = ask(
        &["consumers", "show", "handler:crm"],
        200,
        &consumer.to_string(),
    );
    assert!(
        ran.printed.contains("\nstate         restarting\n"),
        "{ran:?}"
    );
    assert!(!ran.printed.contains("lag"), "{ran:?}");
}

#[test]
fn held_up_conversations_are_shown() {
    let held_up = json!({
        "event": ID, "session": SESSION, "conversation": "+1\u{1b}", "attempt": 3,
        "next_at": "2025-01-08T12:00:00Z", "behind": 1023, "more_in_journal": true,
    });
    let mut consumer = json!({
        "name": "subscription:*:a/b", "kind": "subscription", "state": "running", "lag": 2000,
        "oldest_waiting": null, "failing_since": null, "suspended": null, "in_flight": 0,
        "in_memory": 1024, "overflowed": 976, "retrying": 1, "panics": 0, "held_up": [held_up],
        "sessions": [{
            "session": SESSION, "event": ID, "attempt": 3, "next_at": "2025-01-08T12:00:00Z",
            "in_flight": 0, "retrying": 1, "waiting": 1024, "more_in_journal": true,
        }],
    });
    let arguments = ["consumers", "show", "subscription:*:a/b"];
    let (asked, ran) = ask(&arguments, 200, &consumer.to_string());
    assert_eq!(asked.line, "GET /api/consumers/subscription:*:a%2Fb");
    assert_eq!((ran.status, ran.said.as_str()), (0, ""));
    assert!(
        ran.printed.contains("\nin journal    976\n\nSESSION"),
        "{ran:?}"
    );
    assert!(ran.printed.contains("\n\nHELD UP BY"), "{ran:?}");
    assert!(ran.printed.contains("1024+    0        1"), "{ran:?}");
    let row = format!("{ID}  3         now       1023+    +1\\u{{001b}}    {SESSION}");
    assert_eq!(ran.printed.lines().last(), Some(row.as_str()));
    consumer["held_up"] = json!([]);
    consumer["sessions"] = json!([]);
    let (_, ran) = ask(&arguments, 200, &consumer.to_string());
    assert_eq!(
        (ran.status, ran.said.as_str()),
        (0, "No conversation is held up.\n")
    );
    let none = r#"{"success":false,"error":"there is no consumer \"x\"","code":"not_found"}"#;
    let (_, ran) = ask(&["consumers", "show", "x"], 404, none);
    assert!(
        ran.status == 1 && ran.said.contains("there is no consumer"),
        "{ran:?}"
    );
}
