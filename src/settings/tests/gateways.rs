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
        "[0].webhook: unknown key; there are: api_key, events, headers, kind, name, secret, sessions, shape, url, webhook_url",
    ),
    (
        "name = \"a\"\n\
         [[gateways]]\nurl = \"https://gw\"\nsessions = [\"s\"]\nwebhook_url = \"http://m\"\n",
        ": the session \"s\" is registered twice at https://gw",
    ),
    (
        "[[gateways]]\nurl = \"https://gw\"\nsessions = [\"t\"]\nwebhook_url = \"http://m\"\n",
        ": two gateways have the name \"gw\"; give each its own with name = …",
    ),
];

/// A gateway of each other kind, and a source with what it signs with.
const KINDS: &str = r#"
    [[sources]]
    name = "waha"
    path = "/waha"
    scheme = "waha"
    secrets = ["hidden-waha"]
    [[sources]]
    name = "meta"
    path = "/meta"
    scheme = "meta"
    secrets = ["hidden-app"]
    verify_token = "hidden-verify"
    [[gateways]]
    kind = "waha"
    url = "http://waha:3000"
    api_key = "hidden"
    sessions = ["default"]
    webhook_url = "https://me/waha"
    secret = "hidden-waha"
    [[gateways]]
    kind = "evolution"
    url = "http://evolution:8080"
    api_key = "hidden"
    sessions = ["shop"]
    webhook_url = "https://me/evolution"
    secret = "hidden-waha"
    events = ["MESSAGES_UPSERT"]
    [[gateways]]
    kind = "gowa"
    url = "http://gowa:3000"
    api_key = "user:hidden"
    sessions = ["628"]
    webhook_url = "https://me/gowa"
    secret = "hidden-gowa"
    [[gateways]]
    kind = "telegram"
    api_key = "123:hidden"
    webhook_url = "https://me/telegram"
    secret = "hidden-telegram"
    [[gateways]]
    kind = "meta"
    api_key = "hidden"
    sessions = ["102290129340398"]
    webhook_url = "https://me/meta"
    verify_token = "hidden-verify"
    [[gateways]]
    kind = "meta-app"
    name = "app"
    url = "https://graph.facebook.com/v23.0"
    api_key = "hidden"
    sessions = ["7"]
    webhook_url = "https://me/meta"
    verify_token = "hidden-app"
    [[gateways]]
    kind = "wuzapi"
    url = "http://wuzapi:8080"
    api_key = "hidden"
    webhook_url = "https://me/wuzapi"
    secret = "hidden-hidden-hidden-hidden-wuzapi"
"#;

#[test]
fn each_kind_is_read() {
    let settings = load(KINDS).unwrap();
    let read = settings.gateways.iter().map(|one| {
        let known = one.has_secret_of(&settings.sources) == Some(true);
        (one.gateway.kind().as_str(), one.gateway.url(), known)
    });
    let expected = [
        ("waha", "http://waha:3000", true),
        // The source that has its secret does not verify what it sends.
        ("evolution", "http://evolution:8080", false),
        ("gowa", "http://gowa:3000", false),
        ("telegram", "https://api.telegram.org", false),
        ("meta", "https://graph.facebook.com", true),
        // The secret of the app is no verify token.
        ("meta-app", "https://graph.facebook.com/v23.0", false),
        ("wuzapi", "http://wuzapi:8080", false),
    ];
    assert_eq!(read.collect::<Vec<_>>(), expected);
    assert_eq!(settings.gateways[3].name, "api.telegram.org");
    let shown = format!("{settings:?}") + &serde_json::to_string(&settings).unwrap();
    assert!(!shown.contains("hidden"), "{shown}");
}

#[test]
fn one_problem_of_each_kind() {
    let table = [
        (
            "kind = \"waha\"",
            "kind = \"wahaa\"",
            "[0].kind: found \"wahaa\"; allowed: codeskytz, waha, ",
        ),
        (
            "\"default\"]",
            "\"default\"]\nshape = \"docs\"",
            "[0].shape: does not belong to kind = \"waha\"",
        ),
        (
            "\"default\"]",
            "\"default\"]\nevents = [\"message\", \"message.any\"]",
            "[0].events: message.any holds",
        ),
        (
            "[\"MESSAGES_UPSERT\"]",
            "[\"messages.upsert\"]",
            "[1].events: found \"messages.upsert\"; allowed: names such as",
        ),
        (
            "\"user:hidden\"",
            "\"hidden\"",
            "[2].api_key: the key is not of the form user:password",
        ),
        (
            "\"123:hidden\"",
            "\"hidden\"",
            "[3].api_key: the key is no token of a bot",
        ),
        (
            "\"123:hidden\"",
            "\"env:OFFHOOK_TEST_NONE\"",
            "[3].api_key: the key cannot be read: the environment",
        ),
        (
            "    api_key = \"123:hidden\"\n",
            "",
            "[3].api_key: is missing; it is the bot's token",
        ),
        (
            "\"123:hidden\"",
            "\"123:hidden\"\nsessions = [\"a\"]",
            "[3].sessions: does not belong to kind",
        ),
        (
            "me/telegram",
            "me/{session}",
            "[3].webhook_url: {session} in the URL stands for",
        ),
        (
            "hidden-telegram",
            "hidden telegram",
            "[3].secret: Telegram does not take this secret",
        ),
        (
            "    verify_token = \"hidden-verify\"\n    [[gateways]]\n    kind = \"meta-app\"",
            "    [[gateways]]\n    kind = \"meta-app\"",
            "[4].verify_token: is missing",
        ),
        (
            "[\"102290129340398\"]",
            "[\"1\"]\nsecret = \"hidden\"",
            "[4].secret: does not belong to kind = \"meta\"",
        ),
        (
            "[\"102290129340398\"]",
            "[\"1\"]\nevents = [\"messages\"]",
            "[4].events: the fields are those that the app",
        ),
        (
            "hidden-hidden-hidden-hidden-wuzapi",
            "hidden",
            "[6].secret: wuzapi does not take this secret",
        ),
    ];
    for (from, to, expected) in table {
        assert!(KINDS.contains(from), "{from}");
        has_one_problem(&KINDS.replacen(from, to, 1), expected);
    }
}

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
