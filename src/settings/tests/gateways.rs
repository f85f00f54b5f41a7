//! `[[gateways]]`

use super::*;
use crate::gateway::Shape;

fn gateway(more: &str) -> String {
    with_source(&format!("[[gateways]]\n{more}"))
}

/// What is right, and `more`.
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
    let summary = settings.summary();
    let [main, other] = &summary.gateways[..] else {
        panic!("{summary:?}")
    };
    assert_eq!(
        (main.name.as_str(), other.name.as_str()),
        ("main", "10.0.0.5:3000")
    );
    assert_eq!(main.url, "https://gw:8443/api");
    assert_eq!((main.shape, other.shape), ("docs", "implementation"));
    assert_eq!(main.sessions, ["a", "b"]);
    assert_eq!(main.webhook_url, "https://me/webhook/{session}");
    assert_eq!(main.events, ["message", "status"]);
    assert_eq!(other.events, Shape::Implementation.default_events());
    assert_eq!((main.secret, main.secret_known), (true, true));
    assert_eq!((other.secret, other.secret_known), (false, false));
    assert_eq!(main.headers, ["authorization", "x-org"]);
    assert!(!format!("{settings:?}{summary:?}").contains("hidden"));

    let other = load(&text.replace("\"b\"]", "\"c\"]")).unwrap();
    assert_ne!(settings.fingerprint(), other.fingerprint());
    let other = load(&text.replace("Bearer hidden", "Bearer other")).unwrap();
    assert_eq!(settings.fingerprint(), other.fingerprint());
}

#[test]
fn one_problem_each() {
    let missing = |key: &str| {
        let lines = right("");
        let lines: Vec<_> = lines
            .lines()
            .filter(|line| !line.starts_with(key))
            .collect();
        lines.join("\n")
    };
    let changed = |from: &str, to: &str| right("").replace(from, to);
    let two =
        "[[gateways]]\nurl = \"https://gw\"\nsessions = [\"s\"]\nwebhook_url = \"http://m\"\n";
    let table = [
        (missing("url"), "[0].url: is missing"),
        (missing("sessions"), "[0].sessions: is missing"),
        (
            missing("webhook_url"),
            "[0].webhook_url: is missing; it is our own URL",
        ),
        (
            changed("https://gw", "gw:80"),
            "[0].url: found the scheme \"gw\"",
        ),
        (
            changed("https://gw", "https://u:hidden@gw"),
            "[0].url: there is a user or a password",
        ),
        (
            changed("https://me", "ftp://me"),
            "[0].webhook_url: found the scheme \"ftp\"",
        ),
        (
            changed("https://me/webhook", "env:OFFHOOK_TEST_NONE"),
            "[0].webhook_url: the environment variable",
        ),
        (
            changed("[\"s\"]", "[]"),
            "[0].sessions: expected 1 to 1000 sessions, found 0",
        ),
        (
            changed("[\"s\"]", "[\"s\", \"s\"]"),
            "[0].sessions: one of them is listed twice",
        ),
        (
            changed("[\"s\"]", "[\"..\"]"),
            "[0].sessions: \"..\" is no session id",
        ),
        (
            right("events = [\"mesage\"]"),
            "[0].events: found \"mesage\"; allowed: message, status, connection, unknown, *",
        ),
        (right("events = []"), "[0].events: expected 1 to 64 events"),
        (
            right("shape = \"doc\""),
            "[0].shape: found \"doc\"; allowed: docs, implementation, next",
        ),
        (
            right("secret = \"env:OFFHOOK_TEST_NONE\""),
            "[0].secret: the environment variable",
        ),
        (
            right("shape = \"next\"\nsecret = \"hidden\""),
            "[0].secret: the shape next has no room",
        ),
        (
            right("headers = { \"a b\" = \"hidden\" }"),
            "[0].headers.a b: that cannot be",
        ),
        (
            right("headers = { X-Key = \"Bearer env:OFFHOOK_TEST_NONE\" }"),
            "[0].headers.X-Key: the environment",
        ),
        (
            right("headers = { X-Key = \"hidden\\n\" }"),
            "[0].headers.X-Key: the value is no line",
        ),
        (right("name = \"\""), "[0].name: is empty"),
        (
            right("webhook = \"x\""),
            "[0].webhook: unknown key; there are: events, headers, name, secret, sessions, shape, url, webhook_url",
        ),
        (
            right(&format!("name = \"a\"\n{two}")),
            ": two of them register the session \"s\" at https://gw",
        ),
        (
            right(&two.replace("[\"s\"]", "[\"t\"]")),
            ": two gateways have the name \"gw\"",
        ),
    ];
    for (text, expected) in table {
        let found = problems(&text);
        assert_eq!(found.len(), 1, "{expected}: {found:#?}");
        assert!(
            found[0].starts_with(&format!("settings.toml: gateways{expected}")),
            "{expected}\n{found:#?}"
        );
        assert!(!found[0].contains("hidden"), "{found:#?}");
    }
}

#[test]
fn a_path_token_is_hidden_in_the_url_too() {
    let text = "[[sources]]\nname = \"s\"\nunsigned = true\npath_token = \"hidden-0123456789\"\n\
                [[gateways]]\nurl = \"https://gw\"\nsessions = [\"s\"]\nshape = \"next\"\n\
                webhook_url = \"https://me/webhook/hidden-0123456789/{session}\"";
    let settings = load(text).unwrap();
    let shown = format!("{settings:?}{:?}", settings.summary());
    assert!(
        !shown.contains("hidden") && shown.contains("https://me/***"),
        "{shown}"
    );
}
