//! `offhook subscriptions` against a server.

use serde_json::{Value, json};

use super::{Subscriber, folder, hook};
use crate::served::{Served, until};
use crate::support::{Ran, run};

#[actix_web::test]
async fn added_listed_and_removed() {
    let (folder, subscriber) = (folder("subs-cli", DEFINED), Subscriber::start([]).await);
    let server = Served::start(&folder);
    let ask = |arguments: &[&str]| ask(&server, arguments);
    let url = hook(&subscriber);
    let add = [
        "add",
        "--session",
        "a/b",
        "--url",
        &url,
        "--events",
        "message,status",
        "--secret",
        "hidden",
        "--name",
        "bot",
    ];
    let added = ask(&add);
    assert_eq!((added.status, added.said.as_str()), (0, ""), "{added:?}");
    let row = "bot   active  -    API  yes     message, status  a/b";
    assert!(added.printed.contains(row), "{added:?}");
    assert!(
        added.printed.contains(&url) && !added.printed.contains("hidden"),
        "{added:?}"
    );
    server.message("a/b", "1").await;
    subscriber.expect(1).await;

    // The other one cannot be reached, which the list says before it is suspended.
    let failing = async || {
        let state = server.consumer("subscription:*:crm").await.unwrap()["state"].take();
        state == "failing"
    };
    until("failing", failing).await;
    let listed = ask(&[]);
    assert_eq!(listed.printed.lines().count(), 5, "{listed:?}");
    for words in [
        "crm   failing  1    settings  no      all              *",
        "http://127.0.0.1:9/ fails: POST http://127.0.0.1:9/: ",
    ] {
        assert!(listed.printed.contains(words), "{listed:?}");
    }
    let consumers = run(&["consumers", "--admin", &format!("http://{}", server.admin)]);
    let words = "  the last attempt failed: POST http://127.0.0.1:9/: ";
    assert!(consumers.printed.contains(words), "{consumers:?}");
    let listed = ask(&["list", "--session", "a/b", "--json"]);
    assert_eq!(
        listed.json()["subscriptions"][0]["events"],
        json!(["message", "status"])
    );
    let none = ask(&["list", "--session", "c"]);
    assert_eq!(
        (none.status, &*none.printed, &*none.said),
        (0, "", "No subscription.\n")
    );

    let more = ["--secret", "hidden-2", "--header", "X-Api-Key: hidden"];
    let exchanged = ask(&[&add[..], &more].concat());
    let words = [
        "  2 secrets  message",
        &format!("  {url} (headers: x-api-key)"),
    ];
    for words in words {
        assert!(exchanged.printed.contains(words), "{exchanged:?}");
    }
    assert!(!exchanged.printed.contains("hidden"), "{exchanged:?}");

    let warned = ask(&["add", "--session", "*", "--url", "http://nobody.invalid/"]);
    assert_eq!(warned.status, 0);
    assert!(warned.said.starts_with("warning: "), "{warned:?}");
    let removed = ask(&["remove", "--session", "a/b", "--all"]);
    assert_eq!((removed.status, removed.printed.as_str()), (0, "removed\n"));
    let left = ask(&["--json"]).json();
    let left = left["subscriptions"].as_array().unwrap().iter();
    let left: Vec<_> = left.map(|one| one["name"].clone()).collect();
    assert_eq!(left, ["crm", "default"]);
}

#[actix_web::test]
async fn removing_what_is_not_there_says_so() {
    let folder = folder("subs-cli-none", DEFINED);
    let server = Served::start(&folder);
    for which in [&["--name", "bto"][..], &["--all"]] {
        let removed = ask(&server, &[&["remove", "--session", "a"], which].concat());
        assert_eq!(
            (removed.status, removed.printed.as_str()),
            (1, ""),
            "{removed:?}"
        );
        assert!(removed.said.contains("to session \"a\""), "{removed:?}");
    }
}

/// Its subscriber has answered 410. What waits for it is its own session's.
#[actix_web::test]
async fn an_ended_subscription_stays_with_its_backlog() {
    let (folder, subscriber) = (folder("subs-cli-ended", ""), Subscriber::start([]).await);
    let server = Served::start(&folder);
    server.subscribe("a", &hook(&subscriber)).await;
    subscriber.answer(410);
    server.message("a", "1").await;
    let name = "subscription:a:default";
    let state = async || server.consumer(name).await.unwrap()["state"].take();
    until("ended", async || state().await == "ended").await;
    for id in ["2", "3"] {
        server.message("a", id).await;
        server.message("b", id).await;
    }
    let admin = format!("http://{}", server.admin);
    let ended = "410";
    let consumers = ["consumers", "--admin", &admin];
    let shown = ["consumers", "show", name, "--admin", &admin];
    let commands = [
        &consumers[..],
        &shown,
        &["subscriptions", "--admin", &admin],
    ];
    for ran in commands.map(run) {
        assert!(ran.status == 0 && ran.printed.contains(ended), "{ran:?}");
        assert!(ran.printed.contains("ended"), "{ran:?}");
    }
    // The event that was answered 410 is given up on, or waits too.
    let consumer = server.consumer(name).await.unwrap();
    let (lag, oldest) = (
        consumer["lag"].as_u64().unwrap(),
        &consumer["oldest_waiting"],
    );
    assert!((2..=3).contains(&lag) && oldest.is_string(), "{consumer}");
    let listed = ask(&server, &["list", "--session", "a", "--json"]).json();
    assert_eq!(listed["subscriptions"][0]["lag"], lag);

    for action in [
        &["consumers", "pause", name][..],
        &["replay", "--all", "--consumer", name],
    ] {
        let refused = run(&[action, &["--admin", &admin]].concat());
        assert_eq!(refused.status, 1, "{refused:?}");
        assert!(refused.said.contains("has ended: "), "{refused:?}");
        let again = format!("offhook consumers resume '{name}'");
        assert!(refused.said.contains(&again), "{refused:?}");
    }
    let resumed = run(&["consumers", "resume", name, "--admin", &admin]);
    assert!(
        resumed.status == 0 && !resumed.printed.contains("ended"),
        "{resumed:?}"
    );
    server.program.kill();
}

#[actix_web::test]
async fn a_replay_names_the_consumers_left_out() {
    let text = "[[handlers]]\nname = \"odd\"\nuse = \"exec\"\ncommand = [\"false\"]\n\
                reject_codes = [1]\n";
    let folder = folder("subs-cli-left-out", text);
    let server = Served::start(&folder);
    server.message("a", "1").await;
    let dead = async |server: &Served| {
        let dead = server.expect(200, "GET", "/api/dead", &Value::Null).await;
        dead["dead"].as_array().unwrap().len()
    };
    until("dead", async || dead(&server).await == 1).await;
    server.program.stop();
    crate::served::settings(&folder, super::RELAY);
    let server = Served::start(&folder);
    let admin = format!("http://{}", server.admin);
    let replay = |more: &[&str]| run(&[&["dead", "replay", "--admin", &admin], more].concat());
    let all = replay(&["--all"]);
    assert_eq!(all.status, 1, "{all:?}");
    assert!(all.said.contains("1 event of handler:odd"), "{all:?}");
    let json = replay(&["--consumer", "handler:odd", "--json"]).json();
    let left_out = &json["left_out"][0];
    assert_eq!(
        (&left_out["consumer"], &left_out["events"]),
        (&json!("handler:odd"), &json!(1))
    );
    let reason = left_out["reason"].as_str().unwrap();
    assert!(reason.contains("there is no consumer"), "{json}");
    for arguments in [&["list"][..], &["replay"]] {
        let arguments = [
            &["dead"],
            arguments,
            &["--consumer", "handler:od", "--admin", &admin],
        ];
        let unknown = run(&arguments.concat());
        assert_eq!(unknown.status, 1, "{unknown:?}");
        assert!(
            unknown.said.contains("no consumer \"handler:od\""),
            "{unknown:?}"
        );
    }
    assert_eq!(dead(&server).await, 1);
}

#[actix_web::test]
async fn what_is_refused_and_what_is_misused() {
    let folder = folder("subs-cli-refused", DEFINED);
    let server = Served::start(&folder);
    for (arguments, words) in REFUSED {
        let refused = ask(&server, arguments);
        assert_eq!(refused.status, 1, "{refused:?}");
        assert!(refused.said.contains(words), "{refused:?}");
    }
    for arguments in MISUSED {
        assert_eq!(ask(&server, arguments).status, 2, "{arguments:?}");
    }
}

fn ask(server: &Served, arguments: &[&str]) -> Ran {
    let admin = format!("http://{}", server.admin);
    let arguments = [&["subscriptions"], arguments, &["--admin", &admin]].concat();
    run(&arguments)
}

/// A subscription in the settings.
const DEFINED: &str = "[[subscriptions]]\nname = \"crm\"\nwebhook_url = \"http://127.0.0.1:9/\"\n";

/// What the server refuses, and words of the reason.
const REFUSED: [(&[&str], &str); 2] = [
    (
        &["add", "--session", "*", "--url", "http://169.254.169.254/"],
        "169.254.169.254 is a",
    ),
    (
        &["remove", "--session", "*", "--name", "crm"],
        "defined in settings.toml",
    ),
];

/// Arguments that are wrong, so that the server is not asked.
const MISUSED: [&[&str]; 6] = [
    &["--session", "a", "remove", "--session", "a"],
    &["add", "--session", "a"],
    &[
        "add",
        "--session",
        "a",
        "--url",
        "http://127.0.0.1:9/",
        "--events",
        "call",
    ],
    &[
        "add",
        "--session",
        "a",
        "--url",
        "http://127.0.0.1:9/",
        "--secret",
        "env:OFFHOOK_TEST_NO_SUCH",
    ],
    &["remove", "crm"],
    &["remove", "--session", "a", "--all", "--name", "x"],
];
