//! Tests what a change of the settings file leads to.

use super::*;

const START: &str = r#"
    [server]
    bind = "127.0.0.1:5000"
    [[sources]]
    name = "hub"
    secrets = ["hidden-1"]
    [journal]
    path = "data"
    [[handlers]]
    name = "lines"
    use = "log"
    [[handlers]]
    name = "file"
    use = "jsonl"
    path = "x.jsonl"
    timeout = "5s"
    [[subscriptions]]
    name = "crm"
    webhook_url = "https://crm.example/hook"
    secret = "hidden-2"
    [[gateways]]
    url = "https://gw.example"
    sessions = ["a"]
    webhook_url = "https://me.example/webhook"
"#;

fn settings(text: &str) -> Settings {
    Settings::of_text(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The plan for the start's text with `old` replaced by `new`.
fn plan(old: &str, new: &str) -> Plan {
    assert!(START.contains(old), "{old}");
    Plan::between(&settings(START), &settings(&START.replacen(old, new, 1)))
}

/// The changes and the keys that need a restart.
fn told(old: &str, new: &str) -> Vec<String> {
    let plan = plan(old, new);
    let restarts = plan
        .restarts
        .iter()
        .map(|one| format!("restart {}", one.key()));
    plan.changes
        .iter()
        .map(Change::to_string)
        .chain(restarts)
        .collect()
}

#[test]
fn each_key_is_a_change_or_a_restart() {
    let table: [(&str, &str, &[&str]); 33] = [
        ("[[sources]]", "[[sources]]", &[]),
        (
            "[\"hidden-1\"]",
            "[\"hidden-1\", \"hidden-3\"]",
            &[r#"source "hub": secrets changed"#],
        ),
        (
            "[\"hidden-1\"]",
            "[\"hidden-1\"]\npath = \"/x\"",
            &[r#"source "hub": path changed"#],
        ),
        (
            "[\"hidden-1\"]",
            "[\"hidden-1\"]\nscheme = \"standard-webhooks\"\ndialect = \"raw\"",
            &[r#"source "hub": scheme, dialect changed"#],
        ),
        (
            "[\"hidden-1\"]",
            "[\"hidden-1\"]\nsessions.a.secrets = [\"x\"]\nsessions.a.quiet_after = \"1h\"",
            &[r#"source "hub": sessions changed"#],
        ),
        (
            "[\"hidden-1\"]",
            "[\"hidden-1\"]\nprobe = true\nquiet_after = \"1h\"",
            &[r#"source "hub": probe, quiet_after changed"#],
        ),
        (
            "\"hub\"",
            "\"hub\"\npath = \"/1\"\nsecrets = [\"x\"]\n[[sources]]\nname = \"new\"",
            &[
                r#"source "hub": path, secrets changed"#,
                r#"source "new": added"#,
            ],
        ),
        (
            "[server]",
            "[server]\nmax_body = \"1 MiB\"",
            &["[server]: max_body changed"],
        ),
        (
            "[server]",
            "[server]\nmax_in_flight = \"64 MiB\"\nrequest_timeout = \"5s\"\nkeep_alive = \"5s\"",
            &["[server]: max_in_flight, request_timeout, keep_alive changed"],
        ),
        (
            "[server]",
            "[server]\nhealth_path = \"/up\"",
            &["[server]: health_path changed"],
        ),
        (":5000", ":5002", &["restart server.bind"]),
        (
            "[server]",
            "[server]\nworkers = 2",
            &["restart server.workers"],
        ),
        (
            "[server]",
            "[server]\nmax_connections = 2",
            &["restart server.max_connections"],
        ),
        (
            "[server]",
            "[admin]\nbind = \"127.0.0.1:1\"\n[server]",
            &["restart admin.bind"],
        ),
        (
            "[server]",
            "[admin]\ntoken = \"hidden\"\n[server]",
            &["[admin]: token changed"],
        ),
        (
            "[server]",
            "[server]\ntrusted_proxies = [\"10.0.0.0/8\"]",
            &["[server]: trusted_proxies changed"],
        ),
        ("\"data\"", "\"other\"", &["restart journal.path"]),
        (
            "\"data\"",
            "\"data\"\nretention = \"1h\"",
            &["[journal]: retention changed"],
        ),
        (
            "\"data\"",
            "\"data\"\nretention_size = \"1 GiB\"",
            &["[journal]: retention_size changed"],
        ),
        (
            "\"data\"",
            "\"data\"\ndedup_window = \"1h\"",
            &["restart journal.dedup_window"],
        ),
        (
            "\"data\"",
            "\"data\"\ndedup_window_unkeyed = \"1h\"",
            &["restart journal.dedup_window_unkeyed"],
        ),
        (
            "[journal]",
            "[dispatch]\ntimeout = \"7s\"\n[journal]",
            // The other has its own, and a subscription that of [relay].
            &[
                "[dispatch]: timeout changed",
                r#"handler "lines": timeout changed"#,
            ],
        ),
        ("\"5s\"", "\"6s\"", &[r#"handler "file": timeout changed"#]),
        (
            "\"x.jsonl\"",
            "\"y.jsonl\"",
            &[r#"handler "file": use changed"#],
        ),
        (
            "\"lines\"",
            "\"renamed\"",
            &[r#"handler "lines": removed"#, r#"handler "renamed": added"#],
        ),
        (
            "[journal]",
            "[relay]\ntimeout = \"7s\"\n[journal]",
            &[
                "[relay]: timeout changed",
                r#"subscription "crm" to session "*": timeout changed"#,
            ],
        ),
        (
            "[journal]",
            "[relay]\nallow_private = true\nallow = [\"localhost\"]\ngive_up_on = [404]\nsuspend_after = \"1h\"\n[journal]",
            &["[relay]: suspend_after, allow_private, allow, give_up_on changed"],
        ),
        (
            "\"hidden-2\"",
            "\"hidden-4\"",
            &[r#"subscription "crm" to session "*": secrets changed"#],
        ),
        (
            "\"hidden-2\"",
            "\"hidden-2\"\nheaders = { X-Key = \"hidden\" }",
            &[r#"subscription "crm" to session "*": headers changed"#],
        ),
        (
            "use = \"log\"",
            "use = \"exec\"\ncommand = [\"true\"]\nenv = { KEY = \"hidden\" }",
            &[r#"handler "lines": use changed"#],
        ),
        (
            "crm.example/hook\"",
            "other.example/\"\nsession = \"a\"\nevents = [\"status\"]",
            &[
                r#"subscription "crm" to session "*": removed"#,
                r#"subscription "crm" to session "a": added"#,
            ],
        ),
        (
            "gw.example\"",
            "gw.example\"\nheaders = { X-Key = \"hidden\" }",
            &[r#"gateway "gw.example": kind, url, shape, headers or api_key changed"#],
        ),
        (
            "me.example/webhook\"",
            "me.example/other\"",
            &[r#"gateway "gw.example": webhook_url, events, secret or verify_token changed"#],
        ),
    ];
    for (old, new, expected) in table {
        let found = told(old, new);
        assert_eq!(found, expected, "{new}");
        assert!(
            !found.iter().any(|line| line.contains("hidden")),
            "{found:?}"
        );
        assert_eq!(plan(old, new).is_empty(), expected.is_empty());
    }
}

#[test]
fn another_engine_needs_a_restart() {
    let none = START.replace("path = \"data\"", "engine = \"none\"");
    let none = none.split("[[subscriptions]]").next().unwrap();
    let with = START.split("[[subscriptions]]").next().unwrap();
    let [none, with] = [none, with].map(settings);
    for (old, new, line) in [(&with, &none, "sqlite"), (&none, &with, "none")] {
        let restarts = Plan::between(old, new).restarts;
        let [engine] = &restarts[..] else {
            panic!("{restarts:?}")
        };
        let text = format!(
            "journal.engine cannot change while the server runs: restart it, or put the line \
             `engine = \"{line}\"` back below [journal]"
        );
        assert_eq!(engine.to_string(), text);
    }
}

/// The line that is to be put back makes the settings what they were.
#[test]
fn the_named_line_undoes_the_change() {
    let changes = [
        ("server", "bind = \"[::1]:1\""),
        ("server", "workers = 3"),
        ("server", "max_connections = 3"),
        ("admin", "bind = \"127.0.0.1:3\""),
        ("journal", "path = \"a \\\" \\\\ b\""),
        ("journal", "dedup_window = \"3h 2m\""),
        ("journal", "dedup_window_unkeyed = \"0s\""),
    ];
    let with = |section: &str, line: &str| {
        let other = "[[sources]]\nname = \"s\"\nsecrets = [\"x\"]\n";
        settings(&format!("{other}[{section}]\n{line}"))
    };
    for (section, line) in changes {
        for (old, new) in [
            (with(section, line), with(section, "")),
            (with(section, ""), with(section, line)),
        ] {
            let plan = Plan::between(&old, &new);
            let [restart] = &plan.restarts[..] else {
                panic!("{plan:?}")
            };
            let text = restart.to_string();
            let put_back = text.split('`').nth(1).unwrap();
            assert!(
                Plan::between(&old, &with(section, put_back)).is_empty(),
                "{text}"
            );
        }
    }
}

#[test]
fn turning_tls_on_or_off_needs_a_restart_and_other_files_do_not() {
    // A text would need the files.
    let with = |tls: Option<TlsSettings>| {
        let mut all = settings(START);
        all.admin.as_mut().unwrap().tls = tls.clone();
        all.server.tls = tls;
        all
    };
    let (off, on) = (with(None), with(Some(TlsSettings::new("c", "k"))));
    let restarts = |old: &Settings, new: &Settings| {
        let plan = Plan::between(old, new);
        assert!(plan.changes.is_empty());
        let restarts = plan.restarts.iter();
        restarts.map(ToString::to_string).collect::<Vec<_>>()
    };
    let text = |key: &str, advice: &str| {
        let begin = "cannot change while the server runs: restart it, or ";
        format!("{key} {begin}{advice}")
    };
    let back = |section: &str, key: &str, value: &str| {
        let advice = format!("put the line `{key} = \"{value}\"` back below [{section}]");
        text(&format!("{section}.{key}"), &advice)
    };
    assert_eq!(
        restarts(&on, &off),
        [
            back("server.tls", "certificate", "c"),
            back("server.tls", "key", "k"),
            back("admin.tls", "certificate", "c"),
            back("admin.tls", "key", "k"),
        ]
    );
    assert_eq!(
        restarts(&off, &on),
        [
            text("server.tls.certificate", "take [server.tls] out"),
            text("admin.tls.certificate", "take [admin.tls] out"),
        ]
    );
    // An operator who puts the lines back has what was there, and not a listener for everyone.
    let mut strict = TlsSettings::new("c", "k");
    strict.client_ca = Some("a".into());
    strict.min_version = TlsVersion::Tls13;
    let all = [
        "certificate = \"c\"",
        "key = \"k\"",
        "client_ca = \"a\"",
        "min_version = \"1.3\"",
    ];
    let restarts = Plan::between(&with(Some(strict)), &off).restarts;
    let lines = restarts.iter().map(|one| one.line.as_deref().unwrap());
    assert_eq!(lines.collect::<Vec<_>>(), [all, all].concat());
    let mut plan = Plan::between(&on, &with(Some(TlsSettings::new("d", "k"))));
    assert!(plan.restarts.is_empty());
    let changes: Vec<_> = plan.changes.iter().map(ToString::to_string).collect();
    let of = |section: &str| format!("[{section}.tls]: certificate changed");
    assert_eq!(changes, [of("server"), of("admin")]);
    plan.add_files(&[ChangedFiles {
        section: "server.tls",
        keys: vec!["certificate", "key"],
    }]);
    let server = plan.changes[0].to_string();
    assert_eq!(server, "[server.tls]: certificate, key changed");
}

#[test]
fn turning_the_admin_listener_off_needs_a_restart() {
    let on = settings(START);
    let mut off = on.clone();
    off.admin = None;
    let text = |old: &Settings, new: &Settings| {
        let plan = Plan::between(old, new);
        assert!(plan.changes.is_empty());
        plan.restarts
            .iter()
            .map(NeedsRestart::to_string)
            .collect::<Vec<_>>()
    };
    let begin = "admin.bind cannot change while the server runs: restart it, or ";
    assert_eq!(
        text(&on, &off),
        [format!(
            "{begin}put the line `bind = \"127.0.0.1:5001\"` back below [admin]"
        )]
    );
    assert_eq!(text(&off, &on), [format!("{begin}take [admin] out")]);
    assert!(Plan::between(&off, &off).is_empty());
}

#[test]
fn a_half_written_file_is_told() {
    let cut = |at: &str| {
        let text = START.split(at).next().unwrap();
        Plan::between(&settings(START), &settings(text)).emptied
    };
    assert_eq!(cut("[[subscriptions]]"), None);
    assert_eq!(cut("[[handlers]]"), Some(Emptied::Consumers));
    assert_eq!(
        plan("\"hub\"", "\"renamed\"").emptied,
        Some(Emptied::Sources)
    );
    let with_token = settings(&format!("[admin]\ntoken = \"t\"\n{START}"));
    let without = settings(START);
    assert_eq!(
        Plan::between(&with_token, &without).emptied,
        Some(Emptied::Token)
    );
    assert_eq!(Plan::between(&without, &with_token).emptied, None);
    let one = plan("\"lines\"", "\"renamed\"");
    assert_eq!(one.emptied, None);
}

/// Whatever is left of a file that is being written: it is invalid, or the plan says what is missing.
#[test]
fn a_file_cut_at_every_byte_never_adds() {
    for end in 0..START.len() {
        let Ok(cut) = Settings::of_text(&START[..end]) else {
            continue;
        };
        let plan = Plan::between(&settings(START), &cut);
        assert!(
            !plan.changes.iter().any(|change| change.how == How::Added),
            "{end}: {plan:?}"
        );
        assert_ne!(plan.emptied, Some(Emptied::Sources), "{end}");
    }
}

#[test]
fn the_summary_counts_by_kind() {
    let text = "[server]\nmax_body = \"1 MiB\"";
    let plan = plan("[server]", text);
    assert_eq!(summary(&plan.changes), "[server] changed (max_body)");
    let new = START
        .replace("hidden-1", "other")
        .replace("lines", "new-1")
        .replace("\"file\"", "\"new-2\"");
    let plan = Plan::between(&settings(START), &settings(&new));
    assert_eq!(
        summary(&plan.changes),
        "1 source changed (secrets), 2 handlers added, 2 handlers removed"
    );
    assert_eq!(summary(&[]), "");
}
