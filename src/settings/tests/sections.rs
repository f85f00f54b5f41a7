//! `[server]`, `[admin]`, `[journal]` and `[dispatch]`.

use super::*;

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
        min_body_rate = "2 KiB"
        drain_delay = "3s"
        keep_alive = "1m"
        health_path = "/healthz"
        trusted_proxies = ["10.0.0.0/8", "192.0.2.1"]
        tls = { certificate = "server.pem", key = "server.key", client_ca = "clients.pem", min_version = "1.3" }
        [admin]
        bind = "0.0.0.0:9"
        token = "t"
        [journal]
        path = "elsewhere"
        retention = "1d"
        retention_size = "1 KiB"
        dedup_window = "2h"
        dedup_window_unkeyed = "3s"
        [dispatch]
        order = "none"
        timeout = "1s"
        concurrency = 1
        retry = { first = "2s", factor = 3, max = "1m", attempts = 4, jitter = 0.5 }
        on_exhausted = "dead-letter"
        status = "monotonic"
    "#;
    let files = Files::new("keys");
    let text = text
        .replace("server.pem", &files.path("cert.pem"))
        .replace("server.key", &files.path("key.pem"))
        .replace("clients.pem", &files.path("ca.pem"));
    let settings = load(&with_source(&text)).unwrap();
    let expected = ServerSettings {
        bind: "[::1]:80".parse().unwrap(),
        workers: 3,
        max_body: 1024,
        max_in_flight: 2048,
        max_connections: 5,
        request_timeout: Duration::from_millis(1500),
        min_body_rate: 2048,
        drain_delay: Duration::from_secs(3),
        keep_alive: Duration::from_secs(60),
        health_path: Some("/healthz".to_owned()),
        trusted_proxies: vec![
            "10.0.0.0/8".parse().unwrap(),
            "192.0.2.1/32".parse().unwrap(),
        ],
        tls: Some(TlsSettings {
            client_ca: Some(files.path("ca.pem").into()),
            min_version: TlsVersion::Tls13,
            ..TlsSettings::new(files.path("cert.pem"), files.path("key.pem"))
        }),
    };
    assert_eq!(settings.server, expected);
    let admin = settings.admin.unwrap();
    assert_eq!(admin.bind, "0.0.0.0:9".parse().unwrap());
    assert!(admin.token.unwrap().is(b"t"));
    let expected = SqliteSettings {
        path: "elsewhere".into(),
        retention: Duration::from_secs(24 * 3600),
        retention_size: Some(1024),
        dedup_window: Duration::from_secs(7200),
        dedup_window_unkeyed: Duration::from_secs(3),
    };
    assert_eq!(settings.journal, JournalSettings::Sqlite(expected));
    let expected = HandlerOptions::default()
        .order(Order::None)
        .timeout(Duration::from_secs(1))
        .concurrency(1)
        .retry(crate::Retry {
            first: Duration::from_secs(2),
            factor: 3.0,
            max: Duration::from_secs(60),
            attempts: 4,
            jitter: 0.5,
        })
        .monotonic_status(true);
    assert_eq!(settings.dispatch, expected);
}

#[test]
fn the_journal_can_be_left_out() {
    let settings = load(&with_source("[journal]\nengine = \"none\"")).unwrap();
    assert_eq!(settings.journal, JournalSettings::None);
    let settings = load(&with_source("[journal]\nengine = \"sqlite\"")).unwrap();
    assert_eq!(settings.journal, JournalSettings::default());
}

#[test]
fn one_problem_each() {
    with_source_each_has_one_problem(&PROBLEMS);
}

#[test]
#[cfg(feature = "postgres")]
fn every_key_of_postgres_is_read() {
    let text = r#"
        [journal]
        engine = "postgres"
        url = "postgresql://u:geheim@db1.example,db2.example:6000/d"
        tls = { ca = "ca.pem", certificate = "cert.pem", key = "key.pem" }
        schema = "events"
        durability = "replicated"
        shares = 4
        lease = "6s"
        append_timeout = "3s"
        instance = "one"
        path = "elsewhere"
        retention = "1d"
        retention_size = "1 KiB"
        dedup_window = "2h"
        dedup_window_unkeyed = "3s"
    "#;
    let settings = load(&with_source(text)).unwrap();
    let url = "postgresql://u:geheim@db1.example,db2.example:6000/d";
    let expected = PostgresSettings {
        tls: Some(DatabaseTls {
            ca: Some("ca.pem".into()),
            certificate: Some("cert.pem".into()),
            key: Some("key.pem".into()),
        }),
        schema: "events".to_owned(),
        durability: Durability::Replicated,
        shares: 4,
        lease: Duration::from_secs(6),
        append_timeout: Duration::from_secs(3),
        instance: "one".to_owned(),
        path: "elsewhere".into(),
        retention: Duration::from_secs(24 * 3600),
        retention_size: Some(1024),
        dedup_window: Duration::from_secs(7200),
        dedup_window_unkeyed: Duration::from_secs(3),
        ..PostgresSettings::new(crate::signature::Secret::new(url).unwrap())
    };
    assert_eq!(
        settings.journal,
        JournalSettings::Postgres(Box::new(expected))
    );
    let promise = settings.journal.promise();
    assert!(
        promise.contains("(db1.example:5432, db2.example:6000, schema events)"),
        "{promise}"
    );
    let shown = settings.shown();
    assert_eq!(shown["journal"]["engine"], "postgres");
    assert_eq!(shown["journal"]["lease"], "6s");
    for text in [shown.to_string(), promise, format!("{settings:?}")] {
        assert!(!text.contains("geheim"), "{text}");
    }
    // Instances of one cluster have the same fingerprint.
    let other = text.replace("\"one\"", "\"two\"").replace("elsewhere", "x");
    let other = load(&with_source(&other)).unwrap();
    assert_eq!(settings.fingerprint(), other.fingerprint());
    let other = load(&with_source(&text.replace("6s", "7s"))).unwrap();
    assert_ne!(settings.fingerprint(), other.fingerprint());
}

#[test]
#[cfg(feature = "postgres")]
fn problems_of_postgres() {
    let with = |key: &str| {
        format!(
            "[journal]\nengine = \"postgres\"\nurl = \"postgresql://u:geheim@localhost/d\"\n{key}"
        )
    };
    let table = [
        (
            "[journal]\nengine = \"postgres\"".to_owned(),
            "journal.url: is missing; it is the database's URL",
        ),
        (
            "[journal]\nengine = \"postgres\"\nurl = \"mysql://u:geheim@h/d\"".to_owned(),
            "journal.url: the URL of the database cannot be read",
        ),
        (
            with("lease = \"3s\""),
            "journal.lease: is not from 4s to 60s",
        ),
        (
            with("append_timeout = \"1s\""),
            "journal.append_timeout: is less than 2s",
        ),
        (
            with("shares = 0"),
            "journal.shares: found 0, expected a whole number from 1 to 256",
        ),
        (
            with("schema = \"a-b\""),
            "journal.schema: \"a-b\" cannot be the name of a schema",
        ),
        (
            with("durability = \"disk\""),
            "journal.durability: found \"disk\"; allowed: primary, replicated",
        ),
        (
            with("instance = \"two words\""),
            "journal.instance: is no name",
        ),
        (
            with("tls = { key = \"key.pem\" }"),
            "journal.tls: needs both certificate and key, or neither",
        ),
        (
            with("tls = { mode = \"off\" }"),
            "journal.tls.mode: unknown key",
        ),
        (
            with("shards = 4"),
            "journal.shards: unknown key, did you mean shares?",
        ),
        (
            "[journal]\nurl = \"postgresql://u:geheim@localhost/d\"".to_owned(),
            "journal.url: does nothing with engine = \"sqlite\"",
        ),
        (
            "[journal]\nengine = \"none\"\nlease = \"9s\"".to_owned(),
            "journal.lease: does nothing with engine = \"none\"",
        ),
    ];
    let table = table
        .each_ref()
        .map(|(text, problem)| (text.as_str(), *problem));
    with_source_each_has_one_problem(&table);
}

const PROBLEMS: [(&str, &str); 21] = [
    (
        "[server]\nworkers = 513",
        "workers: found 513, expected a whole number from 0 to 512",
    ),
    (
        "[admin]\ntoken = \"two words\"",
        "admin.token: can never be shown in a header",
    ),
    (
        "[admin]\nviewer_token = \"v\"",
        "admin.viewer_token: does nothing without admin.token",
    ),
    (
        "[admin]\ntoken = \"t\"\nviewer_token = \"t\"",
        "admin.viewer_token: is admin.token too",
    ),
    (
        "[admin]\nshow_bodies = \"all\"",
        "admin.show_bodies: found \"all\"; allowed: admin, viewer",
    ),
    (
        "[admin]\npath_prefix = \"/offhook/\"",
        "admin.path_prefix: is no prefix",
    ),
    (
        "[admin]\nmax_viewers = 129",
        "admin.max_viewers: found 129, expected a whole number from 0 to 128",
    ),
    (
        "[server]\nmax_in_flight = \"1 MiB\"",
        "server.max_in_flight: must be at least",
    ),
    (
        "[server]\nmax_body = \"513 MiB\"\nmax_in_flight = \"1 GiB\"",
        "server.max_body: is more than journal.engine = \"sqlite\" can keep",
    ),
    (
        "[server]\nkeep_alive = \"0s\"",
        "server.keep_alive: found \"0s\", expected a duration",
    ),
    (
        "[server]\nhealth_path = \"healthz\"",
        "server.health_path: is no path",
    ),
    (
        "[server]\nhealth_path = \"/webhook\"",
        "server.health_path: /webhook is the path of a source too",
    ),
    (
        "[admin]\nbind = \"0.0.0.0:5001\"",
        "0.0.0.0:5001 is not loopback, and there is no admin.token",
    ),
    (
        "[admin]\nbind = \"127.0.0.1:5000\"",
        "127.0.0.1:5000 is server.bind too",
    ),
    (
        "[journal]\nengine = \"nats\"",
        "journal.engine: found \"nats\"; allowed: sqlite, postgres, none",
    ),
    (
        "[journal]\nengine = \"none\"\npath = \"data\"",
        "journal.path: does nothing with engine = \"none\"",
    ),
    (
        "[journal]\ndedup_window = \"400days\"",
        "journal.dedup_window: found \"400days\", expected a duration up to 365days",
    ),
    (
        "[dispatch]\nretry = { attempts = 0 }",
        "dispatch.retry.attempts: found 0, expected a whole number from 1 to 1000000",
    ),
    (
        "[dispatch]\nretry = { frist = \"1s\" }",
        "dispatch.retry.frist: unknown key, did you mean first? There are: attempts, factor, first, jitter, max",
    ),
    (
        "[dispatch]\non_exhausted = \"drop\"",
        "dispatch.on_exhausted: found \"drop\"; allowed: dead-letter",
    ),
    (
        "[dispatch]\norder = \"random\"",
        "found \"random\"; allowed: conversation, session, none",
    ),
];
