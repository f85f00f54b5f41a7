//! The whole file, and all its problems.

use super::*;

#[test]
fn the_settings_file_holds_the_defaults() {
    let file = load(include_str!("../../../settings.toml")).unwrap();
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

/// Every example in a comment of the repository's file is valid as it is.
#[test]
fn the_examples_in_the_settings_file_are_valid() {
    let text = include_str!("../../../settings.toml");
    let examples: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(code) if code.starts_with('[') || code.contains(" = ") => code,
            _ => line,
        })
        .filter(|line| !line.contains("env:") && !line.contains("\"file:/run/"))
        .map(|line| format!("{line}\n"))
        .collect();
    let files = Files::new("examples");
    let examples = examples
        .replace("/etc/offhook/server.pem", &files.path("cert.pem"))
        .replace("/etc/offhook/server.key", &files.path("key.pem"))
        .replace("/etc/offhook/clients.pem", &files.path("ca.pem"));
    let settings = load(&examples).unwrap();
    assert!(settings.server.tls.is_some() && settings.admin.unwrap().tls.is_some());
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
fn every_problem_is_reported() {
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
        "settings.toml: server.bnd: unknown key, did you mean bind? There are: bind, drain_delay, health_path, keep_alive, max_body, max_connections, max_in_flight, min_body_rate, request_timeout, tls, trusted_proxies, workers",
        "settings.toml: sources[0].name: is missing; it is the source's name in logs and metrics",
        r#"settings.toml: sources[0].secrets: found a text, expected a list: ["env:NAME"], ["file:PATH"] or ["the text itself"]"#,
        r#"settings.toml: sources[0].scheme: found "hmca"; allowed: x-webhook-signature, standard-webhooks, hmac, github, stripe, slack, meta, waha, gowa, shopify, line, viber, wuzapi, openwa, token, telegram, evolution-jwt, twilio"#,
        r#"settings.toml: handlers[0].use: found "email"; allowed: log, jsonl, exec"#,
        r#"settings.toml: handlers[0].events[1]: found "mesage"; allowed: message, sent, change, status, connection, unknown, source.quiet, source.resumed, *"#,
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
fn problems_of_parts_and_whole_come_together() {
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

/// A problem hides only the checks that need its value.
#[test]
fn other_items_are_checked_too() {
    let text = r#"
        [[sources]]
        name = "a"
        path = "/a b"
        secrets = "hidden"
        [[sources]]
        name = "b"
        path = "/b"
        [[sources]]
        name = 5
        unsigned = true
        path_token = "short"
        [[subscriptions]]
        name = "c"
        webhook_url = "ftp://c.example/"
        [[subscriptions]]
        name = "d"
        webhook_url = "https://d.example/"
        evnts = []
    "#;
    let found = problems(text);
    let keys: Vec<_> = found
        .iter()
        .map(|problem| problem.split(": ").nth(1).unwrap())
        .collect();
    let expected = [
        "sources[0].secrets",
        "sources[2].name",
        "subscriptions[1].evnts",
        "sources[0].path",
        "sources[1]",
        "sources[2].path_token",
        "subscriptions[0]",
    ];
    assert_eq!(keys, expected, "{found:#?}");
}

/// A file that cannot be read. A byte order mark at the begin is no problem.
#[test]
fn the_file_is_utf8_text() {
    let folder = std::env::temp_dir().join(format!("offhook-settings-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("settings.toml");
    let load = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        Settings::load(&file).map_err(|problems| problems.to_string())
    };
    let mut text = b"\xef\xbb\xbf[[sources]]\nname = \"s\"\nsecrets = [\"hidden".to_vec();
    let found = load(&[&text[..], b"\xff\"]"].concat()).unwrap_err();
    assert!(
        found.ends_with("settings.toml: this is not UTF-8 text; the settings are a TOML file"),
        "{found}"
    );
    text.extend(b"\"]");
    assert!(load(&text).is_ok());
    let found = Settings::load(&folder).unwrap_err().to_string();
    assert!(
        found.ends_with(": this is not a file; the settings are a TOML file"),
        "{found}"
    );
    std::fs::remove_dir_all(&folder).unwrap();
    let found = Settings::load(&file).unwrap_err().to_string();
    assert!(
        found.contains("settings.toml: there is no such file (looked from /"),
        "{found}"
    );
}

/// A table in the place of a list, a list in the place of a table, or a text that is not TOML.
#[test]
fn a_file_of_another_shape() {
    let server = format!("server = 5\n{}", with_source(""));
    each_has_one_problem([
        (server, "server: found a number, expected a table"),
        (
            "[sources]\nname = \"s\"".to_owned(),
            "sources: found a table, expected a list: write [[sources]]",
        ),
        ("[[sources]\n".to_owned(), "settings.toml: not TOML: "),
    ]);
}

/// Settings show no secret when they are displayed, written or compared.
#[test]
fn settings_show_no_secret() {
    let text = r#"
        [admin]
        token = "hidden-1"
        [[sources]]
        name = "s"
        secrets = ["hidden 2"]
        sessions.a.secrets = ["hidden 3"]
        [[sources]]
        name = "t"
        unsigned = true
        path = "/t"
        path_token = "hidden-4-0123456789"
        [[handlers]]
        name = "h"
        use = "exec"
        command = ["true"]
        env = { TOKEN = "hidden 5" }
    "#;
    let settings = load(text).unwrap();
    let shown = format!("{settings:?}") + &serde_json::to_string(&settings).unwrap();
    assert!(!shown.contains("hidden"), "{shown}");
    assert!(shown.contains("TOKEN"), "{shown}");
    for hidden in ["hidden-1", "hidden 2", "hidden 3", "hidden-4", "hidden 5"] {
        let other = load(&text.replace(hidden, "hidden-other-0123")).unwrap();
        assert!(settings != other, "{hidden}");
        assert_eq!(settings.fingerprint(), other.fingerprint());
    }
    assert!(settings == load(text).unwrap());
}

#[test]
fn problems_show_no_secret() {
    for text in [
        "[[sources]]\nname = \"s\"\nsecrets = \"hidden\"",
        "[[sources]]\nname = \"s\"\nsecrets = [[\"hidden\"]]",
        "[[sources]]\nname = \"s\"\nsecret = \"hidden\"",
        "[[sources]]\nname = \"s\"\nsessions.a.secret = \"hidden\"",
        "[[sources]]\nname = \"s\"\nsessions = \"hidden\"",
        "[[sources]]\nname = \"s\"\nunsigned = true\npath_token = \"hidden\"",
        "[admin]\ntoken = [\"hidden\"]",
        "[admin]\ntoken = \"hidden word\"",
        "admin = \"hidden\"",
        "[[gateways]]\nheaders = \"hidden\"",
        "[[gateways]]\nheaders = { a = [\"hidden\"] }",
        "[[handlers]]\nenv = { a = [\"hidden\"] }",
        // A secret without quotes, and one that is a number.
        "[[sources]]\nname = \"s\"\nsecrets = [hidden]",
        "[[sources]]\nname = \"s\"\nsecrets = [\"hidden]",
        "[[sources]]\nname = \"s\"\nsecrets = [\"hidden\", \"\\q\"]",
        "[[sources]]\nname = \"s\"\nsecrets = [\"\"\"\nhidden\n",
        "[admin]\ntoken = \"a\"\ntoken = \"hidden\"",
        "secrets = [\"hidden\"]]",
    ] {
        assert!(!problems(text).concat().contains("hidden"), "{text}");
    }
    let number = "[admin]\ntoken = 31415\n[[gateways]]\nheaders = { a = 31415 }\nsecret = 31415";
    let found = problems(number).concat();
    assert!(!found.contains("31415"), "{found}");
    let environment = [("OFFHOOK__ADMIN__TOKEN", "hidden word")];
    let found = load_with(&with_source(""), &environment).unwrap_err();
    assert!(!found.to_string().contains("hidden"), "{found}");
}
