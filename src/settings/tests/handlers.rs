//! `[[handlers]]`

use super::*;

#[test]
fn every_key_is_read() {
    let text = r#"
        [[handlers]]
        name = "script"
        use = "exec"
        command = ["sh", "arg"]
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
        [[handlers]]
        name = "file"
        use = "jsonl"
        path = "events.jsonl"
    "#;
    let handlers = load(&with_source(text)).unwrap().handlers;
    let exec = crate::Exec {
        command: vec!["sh".to_owned(), "arg".to_owned()],
        env: [("A_b".to_owned(), "c".to_owned())].into(),
        reject_codes: vec![1, 255],
    };
    let mut script = HandlerSettings::new("script", Use::Exec(exec));
    script.options = HandlerOptions::default()
        .events([EventKind::Message, EventKind::Unknown])
        .sessions(["x"])
        .order(Order::Session)
        .timeout(Duration::from_secs(2))
        .concurrency(9);
    let path = "events.jsonl".into();
    let file = HandlerSettings::new("file", Use::Jsonl { path });
    assert_eq!(
        handlers,
        [script, HandlerSettings::new("all", Use::Log), file]
    );
}

#[test]
fn events_that_offhook_makes_must_be_named() {
    use EventKind::{Change, Connection, Message, Sent, SourceQuiet, Status, Unknown};
    let table: [(&str, Option<&[EventKind]>); 5] = [
        ("", None),
        ("events = [\"*\"]", None),
        ("events = [\"*\", \"message\"]", None),
        ("events = [\"source.quiet\"]", Some(&[SourceQuiet])),
        (
            "events = [\"source.quiet\", \"*\"]",
            Some(&[
                Message,
                Sent,
                Change,
                Status,
                Connection,
                Unknown,
                SourceQuiet,
            ]),
        ),
    ];
    for (events, kinds) in table {
        let handler = format!("[[handlers]]\nname = \"h\"\nuse = \"log\"\n{events}");
        let settings = load(&with_source(&handler)).unwrap();
        let expected = kinds.map(|kinds| kinds.iter().copied().collect());
        assert_eq!(settings.handlers[0].options.events, expected, "{events}");
    }
}

/// The options of `[dispatch]` and the defaults are filled in.
#[test]
fn effective_options_are_complete() {
    let text =
        "[dispatch]\nconcurrency = 5\n[[handlers]]\nname = \"h\"\nuse = \"log\"\norder = \"none\"";
    let settings = load(&with_source(text)).unwrap().effective();
    let options = &settings.handlers[0].options;
    assert_eq!(
        (options.order, options.concurrency),
        (Some(Order::None), Some(5))
    );
    assert_eq!(options.timeout, Some(crate::DEFAULT_TIMEOUT));
}

/// A handler added in code may not have the name of one in the settings, or of another in code.
#[test]
fn names_in_code_must_differ_too() {
    let settings = "[[handlers]]\nname = \"h\"\nuse = \"log\"";
    let settings = load(&with_source(settings)).unwrap();
    assert!(
        settings
            .check(&["other", "one more"], &mut Certificates::default())
            .is_ok()
    );
    for (in_code, name) in [(["other", "h"], "h"), (["other", "other"], "other")] {
        let found = settings
            .check(&in_code, &mut Certificates::default())
            .unwrap_err();
        let expected = format!("the settings: handlers: two handlers have the name {name:?}");
        assert_eq!(found.to_string(), expected);
    }
}

#[test]
fn one_problem_each() {
    let tables = PROBLEMS.iter().map(|(keys, expected)| {
        let handler = format!("[[handlers]]\nname = \"h\"\n{keys}");
        (with_source(&handler), *expected)
    });
    each_has_one_problem(tables);
}

/// What follows a handler's name, and the problem.
const PROBLEMS: [(&str, &str); 16] = [
    (
        "use = \"exec\"\ncommand = [\"sh\"]\nenv = { \"a=b\" = \"x\" }",
        "no variable can have this name or value",
    ),
    (
        "use = \"exec\"\ncommand = [\"sh\"]\nreject_codes = [75]",
        "reject_codes[0]: is 75, which always means: try again",
    ),
    (
        "use = \"jsonl\"\npath = \"x\"\n[[handlers]]\nname = \"i\"\nuse = \"jsonl\"\npath = \"x\"",
        "handlers: two handlers write to x",
    ),
    (
        "use = \"exec\"\ncommand = [\"no-such-program\"]",
        "handlers[0].command: h: there is no program \"no-such-program\" in PATH",
    ),
    (
        "use = \"exec\"\ncommand = [\"/etc\"]",
        "handlers[0].command: h: \"/etc\" is a folder",
    ),
    (
        "use = \"exec\"\ncommand = [\"/etc/passwd\"]",
        "handlers[0].command: h: this user may not execute \"/etc/passwd\"",
    ),
    (
        "use = \"jsonl\"\npath = \"/no/such/folder/x\"",
        "handlers[0].path: h: /no/such/folder/x: there is no folder /no/such/folder",
    ),
    (
        "use = \"jsonl\"\npath = \"/etc\"",
        "handlers[0].path: h: /etc: this is a folder",
    ),
    ("use = \"jsonl\"", "handlers[0].path: is missing"),
    ("use = \"log\"\npath = \"x\"", "path: does not belong"),
    ("use = \"exec\"\ncommand = []", "command: is empty"),
    ("use = \"exec\"", "handlers[0].command: is missing"),
    (
        "use = \"exec\"\ncommand = [\"sh\"]\nenv = { OFFHOOK_ID = \"x\" }",
        "env.OFFHOOK_ID: names that begin with OFFHOOK_ are offhook's own",
    ),
    (
        "use = \"exec\"\ncommand = [\"sh\"]\nreject_codes = [0]",
        "reject_codes[0]: found 0, expected a whole number from 1 to 255",
    ),
    (
        "use = \"log\"\n[[handlers]]\nname = \"h\"\nuse = \"log\"",
        "handlers: two handlers have the name \"h\"",
    ),
    (
        "use = \"log\"\n[[handlers]]\nname = \"h\"\nuse = \"log\"\n[[handlers]]\nname = \"h\"\nuse = \"log\"",
        "handlers: two handlers have the name \"h\"",
    ),
];
