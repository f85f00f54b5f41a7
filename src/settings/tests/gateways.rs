//! `[[gateways]]`

use super::*;
use crate::gateway::Shape;

fn gateway(more: &str) -> String {
    with_source(&format!("[[gateways]]\n{more}"))
}

/// A valid gateway, followed by `more`.
fn right(more: &str) -> String {
    gateway(&format!(
        "url = \"https://gw\"\nsessions = [\"s\"]\nwebhook_url = \"https://me/webhook\"\n{more}"
    ))
}

#[test]
fn every_key_is_read() {
    let text = gateway(
        r#"
        url = "https://gw:8443/api"
        sessions = ["a", "b"]
        webhook_url = "https://me/webhook/{session}"
        events = ["message", "status"]
        secret = "a secret"
        shape = "docs"
        headers = { Authorization = "Bearer hidden", X-Org = "7" }
        name = "main"
        [[gateways]]
        url = "http://10.0.0.5:3000"
        sessions = ["a"]
        webhook_url = "https://me/webhook"
        shape = "implementation"
        "#,
    );
    let settings = load(&text).unwrap();
    let [main, other] = &settings.gateways[..] else {
        panic!("{settings:?}")
    };
    assert_eq!(
        (main.name.as_str(), other.name.as_str()),
        ("main", "10.0.0.5:3000")
    );
    assert_eq!(main.gateway.url(), "https://gw:8443/api");
    assert_eq!(main.gateway.in_shape(), Shape::Docs);
    assert_eq!(other.gateway.in_shape(), Shape::Implementation);
    assert_eq!(main.sessions, ["a", "b"]);
    assert_eq!(
        main.registration.shown_url(),
        "https://me/webhook/{session}"
    );
    let events = |one: &GatewaySettings| -> Vec<String> {
        let events = one.registration.events_for(&one.gateway).unwrap();
        events.into_iter().map(str::to_owned).collect()
    };
    assert_eq!(events(main), ["message", "status"]);
    assert_eq!(events(other), Shape::Implementation.default_events());
    let known = |one: &GatewaySettings| one.has_secret_of(&settings.sources);
    assert_eq!((known(main), known(other)), (Some(true), None));
    let headers: Vec<&str> = main.gateway.header_names().collect();
    assert_eq!(headers, ["authorization", "x-org"]);
    let shown = format!("{settings:?}") + &serde_json::to_string(&settings).unwrap();
    assert!(!shown.contains("hidden"), "{shown}");

    let other = load(&text.replace("\"b\"]", "\"c\"]")).unwrap();
    assert_ne!(settings.fingerprint(), other.fingerprint());
    let other = load(&text.replace("Bearer hidden", "Bearer other")).unwrap();
    assert_eq!(settings.fingerprint(), other.fingerprint());
}

#[test]
fn one_problem_each() {
    for (key, expected) in MISSING {
        let lines = right("");
        let lines = lines.lines().filter(|line| !line.starts_with(key));
        has_one_problem(&lines.collect::<Vec<_>>().join("\n"), expected);
    }
    for (from, to, expected) in CHANGED {
        has_one_problem(&right("").replace(from, to), expected);
    }
    for (more, expected) in ADDED {
        has_one_problem(&right(more), expected);
    }
}

/// Checks that the text has one problem that begins like this and shows no hidden value.
fn has_one_problem(text: &str, expected: &str) {
    let found = problems(text);
    assert_eq!(found.len(), 1, "{expected}: {found:#?}");
    assert!(
        found[0].starts_with(&format!("settings.toml: gateways{expected}")),
        "{expected}\n{found:#?}"
    );
    assert!(!found[0].contains("hidden"), "{found:#?}");
}

/// The key to remove from a gateway, and the problem.
const MISSING: &[(&str, &str)] = &[
    ("url", "[0].url: is missing"),
    ("sessions", "[0].sessions: is missing"),
    (
        "webhook_url",
        "[0].webhook_url: is missing; it is our own URL",
    ),
];

/// The text to replace in a gateway, its replacement, and the problem.
const CHANGED: &[(&str, &str, &str)] = &[
    ("https://gw", "gw:80", "[0].url: found the scheme \"gw\""),
    (
        "https://gw",
        "https://u:hidden@gw",
        "[0].url: there is a user or a password",
    ),
    (
        "https://me",
        "ftp://me",
        "[0].webhook_url: found the scheme \"ftp\"",
    ),
    (
        "https://me/webhook",
        "env:OFFHOOK_TEST_NONE",
        "[0].webhook_url: the environment variable",
    ),
    (
        "[\"s\"]",
        "[]",
        "[0].sessions: expected 1 to 1000 sessions, found 0",
    ),
    (
        "[\"s\"]",
        "[\"s\", \"s\"]",
        ": the session \"s\" is registered twice at https://gw",
    ),
    (
        "[\"s\"]",
        "[\"..\"]",
        "[0].sessions: \"..\" is no session id",
    ),
];

/// What is added after a gateway's keys, and the problem.
const ADDED: &[(&str, &str)] = &[
    (
        "events = [\"mesage\"]",
        "[0].events: found \"mesage\"; allowed: message, status, connection, unknown, *",
    ),
    ("events = []", "[0].events: expected 1 to 64 events"),
    (
        "shape = \"doc\"",
        "[0].shape: found \"doc\"; allowed: docs, implementation, next",
    ),
    (
        "secret = \"env:OFFHOOK_TEST_NONE\"",
        "[0].secret: the environment variable",
    ),
    (
        "shape = \"next\"\nsecret = \"hidden\"",
        "[0].secret: the shape next has no room",
    ),
    (
        "headers = { \"a b\" = \"hidden\" }",
        "[0].headers: header \"a b\": that cannot be",
    ),
    (
        "headers = { X-Key = \"Bearer env:OFFHOOK_TEST_NONE\" }",
        "[0].headers: header \"X-Key\": the environment",
    ),
    (
        "headers = { X-Key = \"hidden\\n\" }",
        "[0].headers: header \"X-Key\": the value is no line",
    ),
    ("name = \"\"", "[0].name: is empty"),
    (
        "webhook = \"x\"",
        "[0].webhook: unknown key; there are: events, headers, name, secret, sessions, shape, url, webhook_url",
    ),
    (
        "name = \"a\"\n\
         [[gateways]]\nurl = \"https://gw\"\nsessions = [\"s\"]\nwebhook_url = \"http://m\"\n",
        ": the session \"s\" is registered twice at https://gw",
    ),
    (
        "[[gateways]]\nurl = \"https://gw\"\nsessions = [\"t\"]\nwebhook_url = \"http://m\"\n",
        ": two gateways have the name \"gw\"",
    ),
];

#[test]
fn a_path_token_is_hidden_in_urls() {
    let text = "[[sources]]\nname = \"s\"\nunsigned = true\npath_token = \"hidden-0123456789\"\n\
                [[gateways]]\nurl = \"https://gw\"\nsessions = [\"s\"]\nshape = \"next\"\n\
                webhook_url = \"https://me/webhook/hidden-0123456789/{session}\"";
    let settings = load(text).unwrap();
    let shown = format!("{settings:?}") + &serde_json::to_string(&settings).unwrap();
    assert!(
        !shown.contains("hidden") && shown.contains("https://me/***"),
        "{shown}"
    );
}
