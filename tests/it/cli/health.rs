//! `offhook health`, as a container's health check runs it.

use std::net::TcpListener;

use crate::cli_events::ask;
use crate::support::run;

#[test]
fn health_says_whether_events_are_taken() {
    let table = [
        (200, r#"{"status":"ready"}"#, 0, "ready\n"),
        (
            503,
            r#"{"status":"not ready","reason":"the disk is full"}"#,
            1,
            "not ready: the disk is full\n",
        ),
        (
            404,
            r#"{"error":"Not found"}"#,
            1,
            "answered 404, but not as offhook",
        ),
        (200, "<html>", 1, "answered 200, but not as offhook"),
    ];
    for (status, answer, exit, text) in table {
        let (asked, ran) = ask(&["health"], status, answer);
        assert_eq!(asked.line, "GET /ready");
        assert_eq!((ran.status, ran.said.as_str()), (exit, ""), "{ran:?}");
        assert!(ran.printed.contains(text), "{ran:?}");
        assert_eq!(ran.printed.lines().count(), 1, "{ran:?}");
        let (_, ran) = ask(&["health", "--json"], status, answer);
        assert_eq!(
            (ran.status, &ran.json()["ready"]),
            (exit, &(exit == 0).into())
        );
    }
}

#[test]
fn a_server_that_is_away_is_not_ready() {
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let ran = run(&["health", "--admin", &nobody]);
    let line = format!("not ready: {nobody}: connection refused\n");
    assert_eq!((ran.status, ran.printed), (1, line));
    assert_eq!(run(&["health", "--admin", "nowhere"]).status, 2);
}

/// A server that takes the connection and never answers.
#[test]
fn health_waits_for_a_limited_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    let ran = run(&["health", "--admin", &silent, "--json"]);
    assert_eq!(
        (ran.status, &ran.json()["ready"]),
        (1, &false.into()),
        "{ran:?}"
    );
    assert!(ran.json()["error"].is_string(), "{ran:?}");
}
