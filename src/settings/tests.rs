mod gateways;

use std::time::Duration;

use super::*;
use crate::{EventKind, Order};

type Text = config::File<config::FileSourceString, config::FileFormat>;

fn load_with(text: &str, environment: &[(&str, &str)]) -> Result<Settings, Problems> {
    let file: Text = config::File::from_str(text, config::FileFormat::Toml);
    let environment = environment
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    Settings::from_source(Some(file), "settings.toml", with_admin(), environment)
}

fn load(text: &str) -> Result<Settings, Problems> {
    load_with(text, &[])
}

fn problems(text: &str) -> Vec<String> {
    let problems = load(text).expect_err(text);
    problems.list().iter().map(Problem::to_string).collect()
}

/// A source that is right, and `more`.
fn with_source(more: &str) -> String {
    format!("[[sources]]\nname = \"s\"\nsecrets = [\"a secret\"]\n{more}")
}

#[test]
fn the_settings_file_of_the_repository_holds_the_defaults() {
    let file = load(include_str!("../../settings.toml")).unwrap();
    assert_eq!(file.server, ServerSettings::default());
    let admin = file.admin.unwrap();
    assert_eq!(
        (admin.bind, admin.token.is_none()),
        (AdminSettings::default().bind, true)
    );
    assert_eq!(file.dispatch.order, Some(Order::Conversation));
    assert_eq!(file.dispatch.timeout, Some(crate::DEFAULT_TIMEOUT));
    assert_eq!(file.dispatch.concurrency, Some(crate::DEFAULT_CONCURRENCY));
    assert_eq!(file.sources[0].path, "/webhook");
    assert_eq!(file.handlers[0].used, Use::Log);
}

#[test]
fn how_long_a_source_or_a_session_may_be_silent() {
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

#[test]
fn events_that_offhook_makes_must_be_named() {
    use EventKind::{Connection, Message, SourceQuiet, Status, Unknown};
    let table: [(&str, Option<&[EventKind]>); 5] = [
        ("", None),
        ("events = [\"*\"]", None),
        ("events = [\"*\", \"message\"]", None),
        ("events = [\"source.quiet\"]", Some(&[SourceQuiet])),
        (
            "events = [\"source.quiet\", \"*\"]",
            Some(&[Message, Status, Connection, Unknown, SourceQuiet]),
        ),
    ];
    for (events, kinds) in table {
        let handler = format!("[[handlers]]\nname = \"h\"\nuse = \"log\"\n{events}");
        let settings = load(&with_source(&handler)).unwrap();
        let expected = kinds.map(|kinds| kinds.iter().copied().collect());
        assert_eq!(settings.handlers[0].options.events, expected, "{events}");
    }
}

/// Every example that is commented out in the repository's file is valid as it stands.
#[test]
fn the_examples_in_the_settings_file_are_valid() {
    let text = include_str!("../../settings.toml");
    let examples: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(code) if code.starts_with('[') || code.contains(" = ") => code,
            _ => line,
        })
        .filter(|line| !line.contains("env:") && !line.contains("\"file:/run/"))
        .map(|line| format!("{line}\n"))
        .collect();
    let settings = load(&examples).unwrap();
    assert_eq!(settings.gateways[0].name, "codeskytz");
    let used: Vec<_> = settings
        .handlers
        .iter()
        .map(|handler| &handler.used)
        .collect();
    assert!(
        matches!(used[..], [Use::Log, Use::Jsonl { .. }, Use::Exec(_)]),
        "{used:?}"
    );
}

#[test]
fn every_key_is_read() {
    let text = r#"
        [server]
        bind = "[::1]:80"
        workers = 3
        max_body = "1 KiB"
        max_in_flight = 2048
        max_connections = 5
        request_timeout = "1500ms"
        keep_alive = "1m"
        [admin]
        bind = "0.0.0.0:9"
        token = "t"
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
        dialect = "raw"
        event_pointer = "/type"
        session_pointer = "/account/id"
        secrets = ["one", "two"]
        sessions."A.b/C".secrets = ["three"]
        [[sources]]
        name = "impl"
        unsigned = true
        path_token = "0123456789abcdef"
        [journal]
        engine = "none"
        [dispatch]
        order = "none"
        timeout = "1s"
        concurrency = 1
        [[handlers]]
        name = "script"
        use = "exec"
        command = ["prog", "arg"]
        env = { A_b = "c" }
        reject_codes = [1, 255]
        events = ["message", "unknown"]
        sessions = ["x"]
        order = "session"
        timeout = "2s"
        concurrency = 9
        [[handlers]]
        name = "all"
        use = "log"
        events = ["*"]
        sessions = ["*"]
    "#;
    let settings = load(text).unwrap();
    let server = &settings.server;
    assert_eq!(server.bind, "[::1]:80".parse().unwrap());
    assert_eq!(
        (server.workers, server.max_body, server.max_in_flight),
        (3, 1024, 2048)
    );
    assert_eq!(server.max_connections, 5);
    assert_eq!(server.request_timeout, Duration::from_millis(1500));
    assert_eq!(server.keep_alive, Duration::from_secs(60));
    assert!(
        settings
            .admin
            .as_ref()
            .unwrap()
            .token
            .as_ref()
            .unwrap()
            .is(b"t")
    );
    let hub = &settings.sources[0];
    assert_eq!(
        (hub.scheme.name(), hub.dialect.name(), hub.secrets.len()),
        ("hmac", "raw", 2)
    );
    assert_eq!(hub.sessions[0].0, "A.b/C");
    assert!(settings.sources[1].path_token.is_some());
    let script = &settings.handlers[0];
    let Use::Exec(exec) = &script.used else {
        panic!("{script:?}")
    };
    assert_eq!(exec.command, ["prog", "arg"]);
    assert_eq!(exec.env["A_b"], "c");
    assert_eq!(exec.reject_codes, [1, 255]);
    let expected = HandlerOptions::default()
        .events([EventKind::Message, EventKind::Unknown])
        .sessions(["x"])
        .order(Order::Session)
        .timeout(Duration::from_secs(2))
        .concurrency(9);
    assert_eq!(script.options, expected);
    assert_eq!(settings.handlers[1].options, HandlerOptions::default());
}

#[test]
fn every_problem_is_told_at_once() {
    let text = r#"
        surplus = 1
        [server]
        bnd = "127.0.0.1:5000"
        bind = "127.0.0.1"
        workers = -1
        max_body = "much"
        request_timeout = "10"
        [[sources]]
        scheme = "hmca"
        secrets = "not a list, but secret"
        [[handlers]]
        name = "x"
        use = "email"
        events = ["message", "mesage"]
    "#;
    let expected = [
        r#"settings.toml: server.bind: found "127.0.0.1", expected an address with a port, such as "127.0.0.1:5000" or "[::]:5000""#,
        "settings.toml: server.workers: found -1, expected a whole number from 0 to 512",
        r#"settings.toml: server.max_body: found "much", expected a size of at least 1 byte, such as "32 MiB""#,
        r#"settings.toml: server.request_timeout: found "10", expected a duration from 1ms to 365days, such as "10s" or "5m""#,
        "settings.toml: server.bnd: unknown key; there are: bind, keep_alive, max_body, max_connections, max_in_flight, request_timeout, workers",
        "settings.toml: sources[0].name: is missing; it is the source's name in logs and metrics",
        r#"settings.toml: sources[0].scheme: found "hmca"; allowed: x-webhook-signature, standard-webhooks, hmac"#,
        r#"settings.toml: sources[0].secrets: expected a list of secrets: ["env:NAME"], ["file:PATH"] or the text itself"#,
        r#"settings.toml: handlers[0].use: found "email"; allowed: log, jsonl, exec"#,
        r#"settings.toml: handlers[0].events: found "mesage"; allowed: message, status, connection, unknown, source.quiet, source.resumed, *"#,
    ];
    let (surplus, found) = problems(text)
        .split_last()
        .map(|(l, f)| (l.clone(), f.to_vec()))
        .unwrap();
    assert_eq!(found, expected);
    let there_are = "settings.toml: surplus: unknown key; there are: admin, dispatch, ";
    assert!(surplus.starts_with(there_are), "{surplus}");
}

#[test]
fn one_problem_each() {
    let table = [
        ("", "sources: there is none, so nobody may send"),
        (
            "[[sources]]\nname = \"s\"",
            "sources[0]: s: no secret, so nothing it sends can be verified",
        ),
        (
            "[[sources]]\nname = \"s\"\nsecrets = []",
            "no secret, so nothing it sends can be verified",
        ),
        (
            "[[sources]]\nname = \"s\"\nsecrets = [\"\"]",
            "sources[0].secrets[0]: the secret is empty",
        ),
        (
            "[[sources]]\nname = \"s\"\nsecrets = [\"env:OFFHOOK_TEST_UNSET\"]",
            "sources[0].secrets[0]: the environment variable OFFHOOK_TEST_UNSET is not set",
        ),
        (
            "[[sources]]\nname = \"s\"\nsecrets = [\"file:/no/such\"]",
            "sources[0].secrets[0]: the file /no/such cannot be read",
        ),
        (
            "[[sources]]\nname = \"s\"\nsecrets = [5]",
            "secrets[0]: found a number, expected a secret",
        ),
        (
            "[[sources]]\nname = \"s\"\nunsigned = true",
            "path_token: is needed with unsigned = true",
        ),
        (
            "[[sources]]\nname = \"s\"\nunsigned = true\npath_token = \"short\"",
            "path_token is shorter than 16 characters",
        ),
        (
            "[[sources]]\nname = \"s\"\nunsigned = true\npath_token = \"0123456789abcde/\"",
            "path_token may hold letters, digits and - _ . ~ only",
        ),
        (
            &with_source("path_token = \"0123456789abcdef\""),
            "path_token: does nothing without unsigned = true",
        ),
        (
            "[[sources]]\nname = \"s\"\nunsigned = true\npath_token = \"0123456789abcdef\"\nsecrets = [\"x\"]",
            "secrets: does nothing with unsigned = true",
        ),
        (
            &with_source("path = \"webhook\""),
            "sources[0]: s: path: found \"webhook\", expected a path such as",
        ),
        (
            &with_source("path = \"/a/{b}\""),
            "path: found \"/a/{b}\", expected a path",
        ),
        (
            &with_source("path = \"/\""),
            "path: found \"/\", expected a path",
        ),
        (
            &with_source("scheme = \"stripe\""),
            "this version does not know this scheme yet: \"stripe\"",
        ),
        (
            &with_source("scheme = \"hmac\""),
            "header: is missing; it is the header that carries",
        ),
        (
            &with_source("prefix = \"x\""),
            "prefix: belongs to scheme = \"hmac\"",
        ),
        (
            &with_source("tolerance = \"1m\""),
            "tolerance: belongs to scheme = \"hmac\" or \"standard-webhooks\"; this source has",
        ),
        (
            &with_source("scheme = \"standard-webhooks\"\ntolerance = \"x\""),
            "tolerance: found \"x\"",
        ),
        (
            "[[sources]]\nname = \"s\"\nscheme = \"standard-webhooks\"\nsecrets = [\"whsec_a b\"]",
            "secrets: holds one that begins with whsec_, but what follows is no base64",
        ),
        (
            &with_source("scheme = \"standard-webhooks\"\nheader = \"X\""),
            "header: belongs to scheme = \"hmac\"",
        ),
        (
            &with_source("scheme = \"hmac\"\nheader = \"X\"\ntemplate = \"x\""),
            "template: found \"x\": the template must hold {body} exactly once",
        ),
        (
            &with_source("dialect = \"waha\""),
            "does not know the dialect \"waha\" yet",
        ),
        (
            &with_source("event_pointer = \"/x\""),
            "event_pointer: belongs to dialect = \"raw\"",
        ),
        (
            &with_source("dialect = \"raw\"\nevent_pointer = \"x\""),
            "event_pointer: found \"x\", expected a JSON pointer",
        ),
        (
            &with_source("scheme = \"hmac\"\nheader = \"X Bad\""),
            "header: found \"X Bad\", which cannot be a header's name",
        ),
        (
            &with_source("scheme = \"hmac\"\nheader = \"X\"\ntemplate = \"{header:X Bad}{body}\""),
            "template: \"X Bad\" in it cannot be a header's name",
        ),
        (
            &with_source("[server]\nworkers = 513"),
            "workers: found 513, expected a whole number from 0 to 512",
        ),
        (
            &with_source("[admin]\ntoken = \"two words\""),
            "admin.token: can never be shown in a header",
        ),
        (
            &with_source(
                "[[handlers]]\nname = \"h\"\nuse = \"exec\"\ncommand = [\"p\"]\nenv = { \"a=b\" = \"x\" }",
            ),
            "no variable can have this name or value",
        ),
        (
            &with_source(
                "[[handlers]]\nname = \"h\"\nuse = \"exec\"\ncommand = [\"p\"]\nreject_codes = [75]",
            ),
            "reject_codes: has 75, which always means: try again",
        ),
        (
            &with_source(
                "[[handlers]]\nname = \"h\"\nuse = \"jsonl\"\npath = \"x\"\n[[handlers]]\nname = \"i\"\nuse = \"jsonl\"\npath = \"x\"",
            ),
            "handlers: two handlers write to x",
        ),
        (
            &with_source("sessions.a.secrets = []"),
            "sessions.a.secrets: is empty",
        ),
        (
            &with_source("sessions.a = {}"),
            "sessions.a.secrets: is missing",
        ),
        (
            &with_source("quiet_after = \"never\""),
            "sources[0].quiet_after: found \"never\", expected a duration",
        ),
        (
            &with_source("sessions.a.quiet_after = 5"),
            "sessions.a.quiet_after: found 5, expected a text in quotes",
        ),
        (
            "[[sources]]\nname = \"s\"\nunsigned = true\npath_token = \"0123456789abcdef\"\nsessions.a.secrets = [\"x\"]",
            "sessions: does nothing with unsigned = true",
        ),
        (
            &with_source("sessions.a.secret = [\"x\"]\nsessions.a.secrets = [\"x\"]"),
            "sessions.a.secret: unknown key",
        ),
        (
            &with_source("[[sources]]\nname = \"t\"\nsecrets = [\"x\"]"),
            "s and t have the same path /webhook",
        ),
        (
            &with_source("[[sources]]\nname = \"s\"\nsecrets = [\"x\"]\npath = \"/b\""),
            "sources: two sources have the name \"s\"",
        ),
        (
            &with_source("[server]\nmax_in_flight = \"1 MiB\""),
            "server.max_in_flight: must be at least",
        ),
        (
            &with_source("[server]\nmax_body = \"513 MiB\"\nmax_in_flight = \"1 GiB\""),
            "server.max_body: is more than journal.engine = \"sqlite\" can keep",
        ),
        (
            &with_source("[server]\nkeep_alive = \"0s\""),
            "server.keep_alive: found \"0s\", expected a duration",
        ),
        (
            &with_source("[server]\ntls = { key = \"k\" }"),
            "server.tls: this version has no TLS",
        ),
        (
            &with_source("[admin]\nbind = \"0.0.0.0:5001\""),
            "0.0.0.0:5001 is not loopback, and there is no admin.token",
        ),
        (
            &with_source("[admin]\nbind = \"127.0.0.1:5000\""),
            "127.0.0.1:5000 is server.bind too",
        ),
        (
            &with_source("[journal]\nengine = \"nats\""),
            "journal.engine: this version has no engine \"nats\" yet; allowed: sqlite, none",
        ),
        (
            &with_source("[journal]\nengine = \"none\"\npath = \"data\""),
            "journal.path: does nothing with engine = \"none\"",
        ),
        (
            &with_source("[journal]\ndedup_window = \"0s\""),
            "journal.dedup_window: found \"0s\", expected a duration",
        ),
        (
            &with_source("[dispatch]\nretry = { attempts = 0 }"),
            "dispatch.retry.attempts: found 0, expected a whole number from 1 to 1000000",
        ),
        (
            &with_source("[dispatch]\nretry = { frist = \"1s\" }"),
            "dispatch.retry.frist: unknown key; there are: attempts, factor, first, jitter, max",
        ),
        (
            &with_source("[dispatch]\non_exhausted = \"drop\""),
            "dispatch.on_exhausted: found \"drop\"; allowed: dead-letter",
        ),
        (
            &with_source("[dispatch]\norder = \"random\""),
            "found \"random\"; allowed: conversation, session, none",
        ),
        (
            &with_source("[[handlers]]\nname = \"h\"\nuse = \"jsonl\""),
            "handlers[0].path: is missing",
        ),
        (
            &with_source("[[handlers]]\nname = \"h\"\nuse = \"log\"\npath = \"x\""),
            "path: does not belong",
        ),
        (
            &with_source("[[handlers]]\nname = \"h\"\nuse = \"exec\"\ncommand = []"),
            "command: is empty",
        ),
        (
            &with_source("[[handlers]]\nname = \"h\"\nuse = \"exec\""),
            "handlers[0].command: is missing",
        ),
        (
            &with_source(
                "[[handlers]]\nname = \"h\"\nuse = \"exec\"\ncommand = [\"p\"]\nenv = { OFFHOOK_ID = \"x\" }",
            ),
            "env.OFFHOOK_ID: names that begin with OFFHOOK_ are offhook's own",
        ),
        (
            &with_source(
                "[[handlers]]\nname = \"h\"\nuse = \"exec\"\ncommand = [\"p\"]\nreject_codes = [0]",
            ),
            "reject_codes: found 0, expected whole numbers from 1 to 255",
        ),
        (
            &with_source(
                "[[handlers]]\nname = \"h\"\nuse = \"log\"\n[[handlers]]\nname = \"h\"\nuse = \"log\"",
            ),
            "handlers: two handlers have the name \"h\"",
        ),
        (
            "server = 5\n[[sources]]\nname = \"s\"\nsecrets = [\"x\"]",
            "settings.toml: server: found a number, expected a table",
        ),
        (
            "[sources]\nname = \"s\"",
            "sources: found a table, expected a list: write [[sources]]",
        ),
        ("[[sources]\n", "settings.toml: not TOML: "),
    ];
    for (text, problem) in table {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{text}\n{found:#?}");
        assert!(found[0].contains(problem), "{problem}\n{}", found[0]);
    }
}

#[test]
fn what_the_whole_tells_is_told_with_the_parts() {
    let found = problems(&with_source(
        "[server]\nmax_body = \"256 MiB\"\n[admin]\nbind = \"0.0.0.0:1\"\n[dispatch]\nordr = \"none\"",
    ));
    let keys: Vec<_> = found
        .iter()
        .map(|problem| problem.split(": ").nth(1).unwrap())
        .collect();
    assert_eq!(
        keys,
        ["dispatch.ordr", "server.max_in_flight", "admin.bind"]
    );
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

#[test]
fn the_environment_overrides_what_is_not_in_a_list() {
    let text = with_source("[server]\nworkers = 2\nbind = \"127.0.0.1:1\"");
    let settings = load_with(
        &text,
        &[
            ("OFFHOOK__SERVER__BIND", "127.0.0.1:2"),
            ("OFFHOOK__SERVER__MAX_BODY", "5 KiB"),
            ("OFFHOOK__ADMIN__TOKEN", "t"),
            ("OFFHOOK__DISPATCH__CONCURRENCY", "7"),
            ("OFFHOOK_ADMIN_TOKEN", "not an override"),
            ("OFFHOOK_CRM__SECRET", "nor this"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(settings.server.bind.port(), 2);
    assert_eq!(
        (settings.server.workers, settings.server.max_body),
        (2, 5120)
    );
    assert!(settings.admin.unwrap().token.is_some());
    assert_eq!(settings.dispatch.concurrency, Some(7));
}

#[test]
fn lists_of_the_environment_have_commas_between_their_items() {
    let relay = |allow: &str, give_up_on: &str| {
        let environment = [
            ("OFFHOOK__RELAY__ALLOW", allow),
            ("OFFHOOK__RELAY__GIVE_UP_ON", give_up_on),
        ];
        load_with(
            &with_source("[relay]\nallow = [\"10.0.0.1\"]"),
            &environment,
        )
    };
    let options = relay("localhost, 10.1.2.0/24", "404,422")
        .unwrap()
        .relay
        .options;
    let allow: Vec<String> = options.allow.iter().map(ToString::to_string).collect();
    assert_eq!(allow, ["localhost", "10.1.2.0/24"]);
    assert_eq!(options.give_up_on, [404, 422].into());
    assert!(relay("", "").unwrap().relay.options.allow.is_empty());
    let found = relay("localhost", "404,never").unwrap_err().to_string();
    let expected =
        "environment variable OFFHOOK__RELAY__GIVE_UP_ON: found \"never\", expected whole";
    assert!(found.contains(expected), "{found}");
}

#[test]
fn an_unknown_override_stops_the_start() {
    let table = [
        (
            ("OFFHOOK__SERVER__BND", "x"),
            "environment variable OFFHOOK__SERVER__BND: unknown key; there are: bind, ",
        ),
        (
            ("OFFHOOK__SERVER__BIND", "x"),
            "environment variable OFFHOOK__SERVER__BIND: found \"x\", expected an address",
        ),
        (
            ("OFFHOOK__SERVR__BIND", "x"),
            "environment variable OFFHOOK__SERVR__BIND: unknown; it is OFFHOOK__SECTION__KEY",
        ),
        (
            ("OFFHOOK__SERVER", "x"),
            "environment variable OFFHOOK__SERVER: unknown",
        ),
        (
            ("OFFHOOK_RELAY__ALLOW", "localhost"),
            "environment variable OFFHOOK_RELAY__ALLOW: not an override, one underscore is missing: \
             OFFHOOK__RELAY__ALLOW",
        ),
        (
            ("OFFHOOK__SERVER__BIND__X", "x"),
            "environment variable OFFHOOK__SERVER__BIND__X: unknown",
        ),
        (
            ("OFFHOOK__SOURCES__0__NAME", "x"),
            "OFFHOOK__SOURCES__0__NAME: [[sources]] is a list and cannot",
        ),
    ];
    for (variable, problem) in table {
        let found = load_with(&with_source(""), &[variable]).expect_err(problem);
        assert_eq!(found.list().len(), 1, "{found}");
        assert!(found.to_string().contains(problem), "{problem}\n{found}");
    }
}

#[test]
fn no_secret_is_ever_shown() {
    let text = r#"
        [admin]
        token = "hidden-1"
        [[sources]]
        name = "s"
        secrets = ["hidden 2"]
        sessions.a.secrets = ["hidden 3"]
    "#;
    let settings = load(text).unwrap();
    assert!(!format!("{settings:?}").contains("hidden"));
    for text in [
        "[[sources]]\nname = \"s\"\nsecrets = \"hidden\"",
        "[[sources]]\nname = \"s\"\nsecrets = [[\"hidden\"]]",
        "[[sources]]\nname = \"s\"\nunsigned = true\npath_token = \"hidden\"",
        "[admin]\ntoken = [\"hidden\"]",
        "[[sources]]\nname = \"s\"\nsecrets = [\"hidden]",
        "secrets = [\"hidden\"]]",
    ] {
        assert!(!problems(text).concat().contains("hidden"), "{text}");
    }
}

mod relay;
