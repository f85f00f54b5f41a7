//! `[[sources]]`

use super::*;
use crate::signature::{Algorithm, Encoding, Generic, Secret, Secrets, StandardWebhooks};

#[test]
fn every_key_is_read() {
    let text = r#"
        [[sources]]
        name = "hub"
        path = "/a/b-c"
        scheme = "hmac"
        header = "X-Sig"
        algorithm = "sha512"
        encoding = "base64"
        prefix = "v1="
        template = "{timestamp:T}.{body}"
        tolerance = "1m"
        separator = ","
        id_header = "X-Delivery"
        id_pointer = "/id"
        event_header = "X-Event"
        probe = true
        dialect = "raw"
        event_pointer = "/type"
        session_pointer = "/account/id"
        secrets = ["one", "two"]
        sessions."A.b/C".secrets = ["three"]
        [[sources]]
        name = "impl"
        unsigned = true
        path_token = "0123456789abcdef"
        [[sources]]
        name = "standard"
        path = "/standard"
        scheme = "standard-webhooks"
        tolerance = "2m"
        secrets = ["one"]
    "#;
    let sources = load(text).unwrap().sources;
    let [hub, unsigned, standard] = &sources[..] else {
        panic!("{sources:?}")
    };
    let scheme = Generic::new("X-Sig")
        .algorithm(Algorithm::Sha512)
        .encoding(Encoding::Base64)
        .prefix("v1=")
        .tolerance(Duration::from_secs(60))
        .separator(",")
        .id_header("x-delivery")
        .id_pointer("/id")
        .event_header("x-event");
    let dialect = crate::dialect::Raw::default()
        .event("/type")
        .session("/account/id");
    let expected = Source::new("hub")
        .path("/a/b-c")
        .probe()
        .scheme(scheme.template("{timestamp:T}.{body}").unwrap())
        .dialect(dialect)
        .secret(secret("one"))
        .secret(secret("two"))
        .session("A.b/C", Secrets::new(vec![secret("three")]));
    assert_eq!(*hub, expected);
    let expected = Source::new("impl").dangerous_unsigned(secret("0123456789abcdef"));
    assert_eq!(*unsigned, expected);
    let scheme = StandardWebhooks::default().tolerance(Duration::from_secs(120));
    let expected = Source::new("standard").path("/standard").scheme(scheme);
    assert_eq!(*standard, expected.secret(secret("one")));
}

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

#[test]
fn an_event_may_be_named_in_several_places() {
    let source = |more: &str| load(&with_source(&format!("dialect = \"raw\"\n{more}")));
    let dialect = source("event_pointer = [\"/a/b\", \"/c\"]")
        .unwrap()
        .sources
        .remove(0);
    let raw = crate::dialect::Raw::default().event("/a/b").or_event("/c");
    assert!(*dialect.dialect == *(&raw as &dyn crate::dialect::Dialect));
    let problems = problems(&with_source(
        "dialect = \"raw\"\nevent_pointer = [\"/a\", \"b\"]",
    ));
    assert!(problems[0].contains("event_pointer[1]: found \"b\", expected a JSON pointer"));
    let slack = load(&with_source("scheme = \"slack\""));
    let dialect = slack.unwrap().sources.remove(0).dialect;
    assert_eq!(dialect.parameters()[0].1, "/event/type, /type");
    // What is set replaces what the scheme sets.
    let slack = "scheme = \"slack\"\nevent_pointer = \"/x\"";
    let slack = load(&with_source(slack)).unwrap().sources.remove(0);
    assert_eq!(
        slack.dialect.parameters()[0],
        ("event_pointer", "/x".to_owned())
    );
}

#[test]
fn silence_is_watched_by_source_and_session() {
    let text = with_source(
        "quiet_after = \"30m\"\nsessions.a.quiet_after = \"1h\"\n\
         sessions.b.secrets = [\"x\"]\nsessions.b.quiet_after = \"2h\"\nsessions.c.secrets = [\"y\"]",
    );
    let source = load(&text).unwrap().sources.remove(0);
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    assert_eq!(source.quiet_after, Some(hours(1) / 2));
    let watched = [("a".to_owned(), hours(1)), ("b".to_owned(), hours(2))];
    assert_eq!(source.quiet_sessions, watched);
    let own: Vec<_> = source.sessions.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(own, ["b", "c"]);
    let unsigned = "[[sources]]\nname = \"s\"\nunsigned = true\npath_token = \"0123456789abcdef\"\n\
                    sessions.a.quiet_after = \"1h\"";
    let source = load(unsigned).unwrap().sources.remove(0);
    assert_eq!(source.quiet_sessions.len(), 1);
}

/// Two sources differ if any of their settings differs, secrets included.
#[test]
fn a_change_of_a_source_is_found() {
    let load = |more: &str| load(&with_source(more)).unwrap();
    let settings = load("");
    assert_eq!(settings, load("scheme = \"x-webhook-signature\""));
    let hmac = "scheme = \"hmac\"\nheader = \"X\"";
    assert_ne!(
        load(hmac),
        load(&format!("{hmac}\ntemplate = \"{{body}}.\""))
    );
    for more in [
        "separator = \",\"",
        "id_header = \"A\"",
        "id_pointer = \"/a\"",
        "event_header = \"A\"",
    ] {
        assert_ne!(load(hmac), load(&format!("{hmac}\n{more}")), "{more}");
    }
    for more in [
        hmac,
        "probe = true",
        "path = \"/other\"",
        "dialect = \"raw\"",
        "quiet_after = \"1h\"",
        "sessions.a.secrets = [\"x\"]",
        "sessions.a.quiet_after = \"1h\"",
    ] {
        assert_ne!(settings, load(more), "{more}");
        assert_ne!(settings.fingerprint(), load(more).fingerprint(), "{more}");
    }
    let rotated = super::load(&with_source("").replace("a secret", "another")).unwrap();
    assert_ne!(settings, rotated);
    assert_eq!(settings.fingerprint(), rotated.fingerprint());
}

#[test]
fn the_documented_key_stays_on_loopback() {
    let text = |bind: &str, key: &str| {
        format!("[server]\nbind = \"{bind}\"\n[[sources]]\nname = \"s\"\nsecrets = [\"{key}\"]")
    };
    assert!(load(&text("127.0.0.1:5000", "your-secret-key")).is_ok());
    assert!(load(&text("[::1]:5000", "your-secret-key")).is_ok());
    assert!(load(&text("0.0.0.0:5000", "another")).is_ok());
    for bind in ["0.0.0.0:5000", "[::]:5000", "192.0.2.1:80"] {
        let found = problems(&text(bind, "your-secret-key"));
        assert!(
            found[0].contains("printed in the gateway's documentation"),
            "{found:?}"
        );
    }
}

/// What a stranger may try as often as it likes must be long.
#[test]
fn a_secret_that_is_sent_is_long() {
    let text = |bind: &str, source: &str| {
        format!("[server]\nbind = \"{bind}\"\n[[sources]]\nname = \"s\"\n{source}")
    };
    let long = "0123456789abcdef";
    let table = [
        ("scheme = \"token\"\nheader = \"X\"", "secrets"),
        ("scheme = \"telegram\"", "secrets"),
        ("scheme = \"evolution-jwt\"", "secrets"),
        (
            "scheme = \"meta\"\nsecrets = [\"of-the-app\"]",
            "verify_token",
        ),
    ];
    for (source, key) in table {
        let source = |secret: &str| match key {
            "secrets" => format!("{source}\nsecrets = [\"{secret}\"]"),
            _ => format!("{source}\n{key} = \"{secret}\""),
        };
        let short = source(&long[1..]);
        let found = problems(&text("0.0.0.0:5000", &short));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("fewer than 16 characters"), "{found:?}");
        let warnings = load(&text("127.0.0.1:5000", &short)).unwrap().warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("fewer than 16 characters"));
        let long = load(&text("0.0.0.0:5000", &source(long))).unwrap();
        assert!(long.warnings().is_empty());
    }
    // An HMAC does not show its key.
    let hmac = "scheme = \"github\"\nsecrets = [\"short\"]";
    assert!(
        load(&text("0.0.0.0:5000", hmac))
            .unwrap()
            .warnings()
            .is_empty()
    );
}

#[test]
fn one_problem_each() {
    with_source_each_has_one_problem(&PROBLEMS);
}

#[test]
fn one_problem_of_each_whole_source() {
    let sources = WHOLE
        .iter()
        .map(|(keys, expected)| (format!("[[sources]]\nname = \"s\"\n{keys}"), *expected));
    each_has_one_problem(sources);
    let expected = "sources: there is none, so no request is accepted";
    each_has_one_problem([(String::new(), expected)]);
}

const PROBLEMS: [(&str, &str); 35] = [
    (
        "separator = \",\"",
        "separator: does not belong to scheme = \"x-webhook-signature\"",
    ),
    (
        "scheme = \"standard-webhooks\"\nid_header = \"X\"",
        "id_header: does not belong to scheme = \"standard-webhooks\"",
    ),
    (
        "scheme = \"hmac\"\nheader = \"X\"\nseparator = \"\"",
        "sources[0].separator: is empty; expected one such as",
    ),
    (
        "scheme = \"hmac\"\nheader = \"X\"\nid_header = \"X Bad\"",
        "id_header: found \"X Bad\", which cannot be a header's name",
    ),
    (
        "scheme = \"hmac\"\nheader = \"X\"\nevent_header = \"\"",
        "event_header: found \"\", which cannot be a header's name",
    ),
    (
        "scheme = \"hmac\"\nheader = \"X\"\nid_pointer = \"id\"",
        "id_pointer: found \"id\", expected a JSON pointer",
    ),
    ("probe = \"yes\"", "sources[0].probe: found"),
    (
        "path_token = \"0123456789abcdef\"",
        "path_token: does nothing without unsigned = true",
    ),
    (
        "path = \"webhook\"",
        "sources[0].path: found \"webhook\", expected a path such as",
    ),
    (
        "path = \"/a/{b}\"",
        "path: found \"/a/{b}\", expected a path",
    ),
    ("path = \"/\"", "path: found \"/\", expected a path"),
    (
        "scheme = \"discord\"",
        "found \"discord\"; allowed: x-webhook",
    ),
    (
        "scheme = \"meta\"",
        "verify_token: is missing; it is the token",
    ),
    (
        "scheme = \"token\"",
        "header: is missing; it is the header that carries the secret",
    ),
    (
        "scheme = \"twilio\"",
        "public_url: is missing; it is the address that Twilio was given",
    ),
    (
        "scheme = \"twilio\"\npublic_url = \"me.example\"",
        "public_url: found \"me.example\", expected an address",
    ),
    (
        "scheme = \"github\"\nheader = \"X\"",
        "header: does not belong to scheme = \"github\"",
    ),
    (
        "scheme = \"hmac\"",
        "header: is missing; it is the header that carries",
    ),
    ("prefix = \"x\"", "prefix: does not belong to scheme = \""),
    (
        "tolerance = \"1m\"",
        "tolerance: does not belong to scheme = \"x-webhook-signature\"",
    ),
    (
        "scheme = \"standard-webhooks\"\ntolerance = \"x\"",
        "tolerance: found \"x\"",
    ),
    (
        "scheme = \"standard-webhooks\"\nheader = \"X\"",
        "header: does not belong to scheme = \"",
    ),
    (
        "scheme = \"hmac\"\nheader = \"X\"\ntemplate = \"x\"",
        "template: found \"x\": the template must hold {body} exactly once",
    ),
    (
        "dialect = \"whatsapp\"",
        "dialect: found \"whatsapp\"; allowed: codeskytz, meta, waha, evolution, gowa, telegram, raw",
    ),
    (
        "event_pointer = \"/x\"",
        "event_pointer: does not belong to dialect = \"codeskytz\"",
    ),
    (
        "dialect = \"raw\"\nevent_pointer = \"x\"",
        "event_pointer: found \"x\", expected a JSON pointer",
    ),
    (
        "scheme = \"hmac\"\nheader = \"X Bad\"",
        "header: found \"X Bad\", which cannot be a header's name",
    ),
    (
        "scheme = \"hmac\"\nheader = \"X\"\ntemplate = \"{header:X Bad}{body}\"",
        "template: \"X Bad\" in it cannot be a header's name",
    ),
    ("sessions.a.secrets = []", "sessions.a.secrets: is empty"),
    ("sessions.a = {}", "sessions.a.secrets: is missing"),
    (
        "quiet_after = \"never\"",
        "sources[0].quiet_after: found \"never\", expected a duration",
    ),
    (
        "sessions.a.quiet_after = 5",
        "sessions.a.quiet_after: found 5, expected a duration",
    ),
    (
        "sessions.a.secret = [\"x\"]\nsessions.a.secrets = [\"x\"]",
        "sessions.a.secret: unknown key",
    ),
    (
        "[[sources]]\nname = \"t\"\nsecrets = [\"x\"]",
        "s and t have the same path /webhook",
    ),
    (
        "[[sources]]\nname = \"s\"\nsecrets = [\"x\"]\npath = \"/b\"",
        "sources: two sources have the name \"s\"",
    ),
];

/// What follows a source's name, and the problem.
const WHOLE: [(&str, &str); 16] = [
    (
        "",
        "sources[0]: s: no secret, so nothing it sends can be verified",
    ),
    (
        "secrets = []",
        "no secret, so nothing it sends can be verified",
    ),
    (
        "secrets = [\"\"]",
        "sources[0].secrets[0]: the secret is empty",
    ),
    (
        "secrets = [\"   \"]",
        "sources[0].secrets[0]: the secret is empty, or only white space",
    ),
    (
        "scheme = \"meta\"\nsecrets = [\"x\"]\nverify_token = \" \"",
        "sources[0].verify_token: the secret is empty, or only white space",
    ),
    (
        "scheme = \"token\"\nheader = \"X\"\nsecrets = [\"0123456789abcdef \"]",
        "secrets: holds one with white space at an end",
    ),
    (
        "scheme = \"token\"\nheader = \"X\"\nsecrets = [\" 0123456789abcdef\"]",
        "secrets: holds one with white space at an end",
    ),
    (
        "secrets = [\"env:OFFHOOK_TEST_UNSET\"]",
        "sources[0].secrets[0]: the environment variable OFFHOOK_TEST_UNSET is not set",
    ),
    (
        "secrets = [\"file:/no/such\"]",
        "sources[0].secrets[0]: the file /no/such cannot be read",
    ),
    (
        "secrets = [5]",
        "secrets[0]: found a number, expected a secret",
    ),
    (
        "unsigned = true",
        "path_token: is needed with unsigned = true",
    ),
    (
        "unsigned = true\npath_token = \"short\"",
        "sources[0].path_token: is shorter than 16 characters",
    ),
    (
        "unsigned = true\npath_token = \"0123456789abcde/\"",
        "sources[0].path_token: may hold letters, digits and - _ . ~ only",
    ),
    (
        "unsigned = true\npath_token = \"0123456789abcdef\"\nsecrets = [\"x\"]",
        "secrets: does nothing with unsigned = true",
    ),
    (
        "scheme = \"standard-webhooks\"\nsecrets = [\"whsec_a b\"]",
        "secrets: holds one that begins with whsec_, but what follows is no base64",
    ),
    (
        "unsigned = true\npath_token = \"0123456789abcdef\"\nsessions.a.secrets = [\"x\"]",
        "sessions: does nothing with unsigned = true",
    ),
];
