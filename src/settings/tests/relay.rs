//! `[relay]` and `[[subscriptions]]`.

use super::*;

/// A valid subscription, except for `more`, which may repeat its keys.
fn subscription(more: &str) -> String {
    with_source(&format!(
        "[[subscriptions]]\nname = \"crm\"\nwebhook_url = \"https://crm.example/hook?t=hidden\"\n{more}"
    ))
}

#[test]
fn every_key_is_read() {
    let text = with_source(
        r#"
        [relay]
        timeout = "3s"
        allow_private = true
        allow = ["10.1.2.0/24", "localhost", "169.254.169.254"]
        give_up_on = [404, 422]
        suspend_after = "2h"
        [[subscriptions]]
        name = "crm"
        session = "A.b/C"
        webhook_url = "https://crm.example/hook"
        events = ["message", "unknown"]
        secret = "hidden"
        headers = { X-Api-Key = "hidden" }
        order = "session"
        timeout = "2s"
        concurrency = 9
        retry = { attempts = 3 }
        [[subscriptions]]
        name = "all"
        webhook_url = "http://localhost:8080/"
        events = ["*"]
        secrets = ["hidden-new", "hidden-old"]
        "#,
    );
    let settings = load(&text).unwrap();
    let options = &settings.relay.options;
    assert_eq!(
        (options.timeout, options.allow_private),
        (Duration::from_secs(3), true)
    );
    assert_eq!(
        (options.allow.len(), &options.give_up_on),
        (3, &[404, 422].into())
    );
    assert_eq!(settings.relay.suspend_after, Duration::from_secs(7200));
    let crm = &settings.subscriptions[0];
    assert_eq!((&*crm.name, &*crm.session), ("crm", "A.b/C"));
    assert_eq!(crm.webhook_url, "https://crm.example/hook");
    assert!(crm.secrets.first().unwrap().is(b"hidden"));
    assert_eq!(crm.headers.names().collect::<Vec<_>>(), ["x-api-key"]);
    assert!(!format!("{crm:?}").contains("hidden"));
    assert!(!serde_json::to_string(crm).unwrap().contains("hidden"));
    let retry = crate::Retry::default();
    let expected = HandlerOptions::default()
        .events([EventKind::Message, EventKind::Unknown])
        .order(Order::Session)
        .timeout(Duration::from_secs(2))
        .concurrency(9)
        .retry(crate::Retry {
            attempts: 3,
            ..retry
        });
    assert_eq!(crm.options, expected);
    let all = &settings.subscriptions[1];
    assert_eq!(
        (&*all.session, &all.options),
        ("*", &HandlerOptions::default())
    );
    assert_eq!(all.secrets.iter().len(), 2);

    let defaults = load(&with_source("")).unwrap().relay;
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(
        (defaults.options.timeout, defaults.suspend_after),
        (Duration::from_secs(10), day)
    );
    let environment = [("OFFHOOK__RELAY__TIMEOUT", "1s")];
    let changed = load_with(&with_source(""), &environment).unwrap();
    assert_eq!(changed.relay.options.timeout, Duration::from_secs(1));
}

#[test]
fn one_problem_each() {
    with_source_each_has_one_problem(WRONG_SECTIONS);
    let more = |(more, expected): &(&str, _)| (subscription(more), *expected);
    each_has_one_problem(WRONG_KEYS.iter().map(more));
    let to = |(url, expected): &(&str, _)| {
        let section = format!("[[subscriptions]]\nname = \"x\"\nwebhook_url = \"{url}\"");
        (with_source(&section), *expected)
    };
    each_has_one_problem(WRONG_URLS.iter().map(to));
}

/// What follows a source, and the problem.
const WRONG_SECTIONS: &[(&str, &str)] = &[
    (
        "[relay]\ntimeout = 3",
        "relay.timeout: found 3, expected a duration",
    ),
    (
        "[relay]\ntimeuot = \"3s\"",
        "relay.timeuot: unknown key, did you mean timeout? There are: allow, allow_private, give_up_on, suspend_after, timeout",
    ),
    (
        "[relay]\nallow = [\"10.0.0.0/99\"]",
        "relay.allow[0]: found \"10.0.0.0/99\", which is no network",
    ),
    (
        "[relay]\ngive_up_on = [200]",
        "relay.give_up_on[0]: found 200, expected a whole number",
    ),
    (
        "[relay]\ngive_up_on = [404, 410]",
        "relay.give_up_on[1]: is 410, which always ends",
    ),
    (
        "[[subscriptions]]\nname = \"x\"",
        "subscriptions[0].webhook_url: is missing",
    ),
    (
        "[[subscriptions]]\nwebhook_url = \"https://h/\"",
        "subscriptions[0].name: is missing",
    ),
    (
        "[[subscriptions]]\nname = \"a:b\"\nwebhook_url = \"https://h.example/\"",
        "subscriptions[0]: a:b: found \"a:b\", expected a name of 1 to 64 of A-Z a-z 0-9 - _ .",
    ),
];

/// What follows the keys of the subscription `crm`, and the problem.
const WRONG_KEYS: &[(&str, &str)] = &[
    (
        "evnts = []",
        "subscriptions[0].evnts: unknown key, did you mean events? There are: concurrency, events, headers, name, \
         on_exhausted, order, retry, secret, secrets, session, status, timeout, webhook_url",
    ),
    (
        "events = [\"call\"]",
        "found \"call\"; allowed: message, sent, change, status, connection, unknown, *",
    ),
    (
        "secret = \"whsec_not base64\"",
        "subscriptions[0].secret: begins with whsec_, but what follows is no base64",
    ),
    (
        "session = 7",
        "subscriptions[0].session: found a number, expected a text in quotes",
    ),
    (
        "session = \"\"",
        "subscriptions[0]: crm: a session's id here has 1 to 1024 bytes",
    ),
    (
        "secret = \"env:OFFHOOK_TEST_NO_SUCH\"",
        "OFFHOOK_TEST_NO_SUCH is not set",
    ),
    (
        "secret = \"\"",
        "subscriptions[0].secret: the secret is empty",
    ),
    (
        "secret = \"hidden\"\nsecrets = [\"hidden\"]",
        "subscriptions[0].secrets: is given beside secret",
    ),
    (
        "secrets = []",
        "subscriptions[0].secrets: expected 1 to 8 secrets, found 0",
    ),
    (
        "secrets = [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\", \"i\"]",
        "subscriptions[0].secrets: expected 1 to 8 secrets, found 9",
    ),
    (
        "secrets = [\"whsec_not base64\"]",
        "subscriptions[0].secrets[0]: begins with whsec_",
    ),
    (
        "headers = [\"hidden\"]",
        "subscriptions[0].headers: found a list, expected a table such as",
    ),
    (
        "headers = { X-A = 7 }",
        "subscriptions[0].headers.X-A: found a number, expected a text in quotes",
    ),
    (
        "headers = { Content-Type = \"text/plain\" }",
        "subscriptions[0].headers: the header \"Content-Type\": cannot be set: offhook sets it itself",
    ),
    (
        "headers = { Connection = \"close\" }",
        "subscriptions[0].headers: the header \"Connection\": cannot be set: it belongs to the connection",
    ),
    (
        "headers = { X-A = \"hidden\\n\" }",
        "subscriptions[0].headers: the header \"x-a\": its value must be visible ASCII",
    ),
    (
        "headers = { X-A = \"env:OFFHOOK_TEST_NO_SUCH\" }",
        "subscriptions[0].headers: the header \"x-a\": the environment variable OFFHOOK_TEST_NO_SUCH is not set",
    ),
    (
        "[[subscriptions]]\nname = \"crm\"\nwebhook_url = \"https://other.example/\"\n",
        "subscriptions: two are \"crm\" to session \"*\"",
    ),
    (
        "[journal]\nengine = \"none\"",
        "subscriptions: journal.engine is none, which keeps nothing until a subscriber has it",
    ),
];

/// The URL of the subscription `x`, and the problem.
const WRONG_URLS: &[(&str, &str)] = &[
    (
        "crm.example",
        "subscriptions[0]: x: webhook_url: it is no URL",
    ),
    (
        "ftp://crm.example/",
        "subscriptions[0]: x: webhook_url: its scheme is ftp",
    ),
    (
        "http://127.0.0.1:1/",
        "subscriptions[0]: x: webhook_url: 127.0.0.1 is a loopback address",
    ),
    (
        "http://0x7f.1/",
        "subscriptions[0]: x: webhook_url: 127.0.0.1 is a loopback address",
    ),
];

#[test]
fn the_fingerprint_covers_them() {
    let load = |more: &str| load(&subscription(more)).unwrap();
    let settings = load("secret = \"hidden-secret\"\ntimeout = \"2s\"");
    let shown = format!("{settings:?}") + &serde_json::to_string(&settings).unwrap();
    assert!(!shown.contains("hidden"), "{shown}");
    assert!(shown.contains("https://crm.example/hook?…"), "{shown}");
    let timeout = |settings: Settings| settings.effective().subscriptions[0].options.timeout;
    assert_eq!(timeout(settings.clone()), Some(Duration::from_secs(2)));
    assert_eq!(timeout(load("")), Some(Duration::from_secs(10)));

    let mut other = settings.clone();
    other.subscriptions[0].webhook_url += "2";
    let mut slower = settings.clone();
    slower.relay.options.timeout *= 2;
    for changed in [
        &other,
        &slower,
        &load(""),
        &load("secret = \"x\"\nsession = \"a\""),
    ] {
        assert_ne!(changed.fingerprint(), settings.fingerprint());
    }
}
