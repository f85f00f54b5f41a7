//! `/openapi.json`: it has all paths of the admin listener, and says of each what the server does.

pub mod answers;
mod code;
mod document;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use offhook::settings::ShowBodies;
use offhook::testing::{Recorder, TempJournal, TestRequest, TestResponse};
use offhook::{Offhook, Server, testing};
use serde_json::{Value, json};

use self::answers::judge;
use self::document::{DOCUMENT, Operation, operations};
use crate::support::{secret, source};

const ADMIN: &str = "token-of-the-administrator";
const VIEWER: &str = "token-of-the-viewer";

async fn server(journal: &TempJournal) -> Server {
    let offhook = Offhook::builder()
        .journal(journal.settings())
        .source(source())
        .handler("recorder", Recorder::default())
        .admin_token(secret(ADMIN))
        .configure(|settings| {
            let admin = settings.admin.as_mut().unwrap();
            admin.viewer_token = Some(secret(VIEWER));
            admin.show_bodies = ShowBodies::Viewer;
        });
    testing::start(offhook).await
}

/// The operation's path, with something in place of each name in braces that there is not.
fn path(operation: &Operation) -> String {
    let id = match operation.says["tags"][0].as_str() {
        Some("subscriptions") => "nobody",
        _ => "00000000-0000-7000-8000-000000000000",
    };
    let mut path = operation.path.replace("{id}", id);
    for name in operation.parameters("path") {
        path = path.replace(&format!("{{{name}}}"), "nobody");
    }
    path
}

/// Asks with a query, or a body, that is never right: so nothing is changed, and no stream begins.
async fn ask(
    to: SocketAddr,
    operation: &Operation,
    method: &str,
    token: &str,
    (query, body): (&str, &str),
) -> TestResponse {
    let path = format!("{}{query}", path(operation));
    let mut request = TestRequest::post(body).path(&path);
    request.method = method.to_owned();
    if !token.is_empty() {
        request = request.header("Authorization", &format!("Bearer {token}"));
    }
    request.send(to).await
}

const WRONG_QUERY: (&str, &str) = ("?no_such_key=1", "");
const WRONG_BODY: (&str, &str) = ("", r#"{"no_such_key":1}"#);

#[test]
fn it_has_the_paths_and_methods_of_the_code() {
    let said = operations();
    let said = said
        .into_iter()
        .map(|one| (one.path.to_owned(), one.method));
    let (said, routed): (BTreeSet<_>, _) = (said.collect(), code::routes());
    let missing: Vec<_> = routed.difference(&said).collect();
    let gone: Vec<_> = said.difference(&routed).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "src/admin/openapi.json lacks {missing:?}, and has {gone:?}, which the code does not route"
    );
    assert!(routed.len() > 50, "{routed:?}");
}

#[actix_web::test]
async fn the_server_serves_it() {
    let journal = TempJournal::new();
    let server = server(&journal).await;
    let to = server.admin_address().unwrap();
    let get = TestRequest::get("/openapi.json");
    let answer = get
        .header("Authorization", &format!("Bearer {VIEWER}"))
        .send(to)
        .await;
    assert_eq!(
        serde_json::from_slice::<Value>(&answer.body).unwrap(),
        *DOCUMENT
    );
    assert_eq!(DOCUMENT["info"]["version"], env!("CARGO_PKG_VERSION"));
    server.stop().await;
}

/// The names in an error that says which there are: `a`, `b`, or after "allowed:".
fn names(error: &str) -> BTreeSet<&str> {
    if error.contains("there are no fields") {
        return BTreeSet::new();
    }
    let Some((_, said)) = error.split_once("; allowed: ") else {
        let (_, said) = error
            .split_once("expected ")
            .unwrap_or_else(|| panic!("{error}"));
        return said.split('`').skip(1).step_by(2).collect();
    };
    said.split(", ").collect()
}

#[actix_web::test]
async fn methods_roles_and_fields_are_those_of_the_server() {
    let journal = TempJournal::new();
    let server = server(&journal).await;
    let to = server.admin_address().unwrap();
    for operation in operations() {
        let (path, method) = (operation.path, &*operation.method);
        let place = format!("{method} {path}");
        let open = operation.is_for("");
        // Nothing of it begins a stream.
        let query = if operation.is_of_dashboard() {
            ("", "")
        } else {
            WRONG_QUERY
        };
        let answer = ask(to, &operation, method, "", query).await;
        assert_eq!(answer.status == 401, !open, "{place}: {answer:?}");
        let answer = ask(to, &operation, method, VIEWER, query).await;
        let reads = operation.is_for("viewer");
        assert!(!reads || method == "GET", "{place}");
        assert_eq!(answer.status == 403, !reads, "{place}: {answer:?}");
        if operation.is_of_dashboard() {
            continue;
        }
        // The check of answers compares what is allowed.
        let answer = ask(to, &operation, "OPTIONS", ADMIN, WRONG_QUERY).await;
        assert_eq!(answer.status, 405, "{place}");
        let answer = ask(to, &operation, method, ADMIN, WRONG_QUERY).await;
        let said: BTreeSet<_> = operation.parameters("query").into_iter().collect();
        if said.is_empty() {
            assert!(
                !answer.text().contains("no_such_key"),
                "{place}: {answer:?}"
            );
        } else {
            let error = answer.text();
            assert!(error.contains("no_such_key"), "{place}: {error}");
            assert_eq!(names(&error), said, "{place}");
        }
        if let Some(fields) = operation.fields() {
            let answer = ask(to, &operation, method, ADMIN, WRONG_BODY).await;
            let error: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(error["code"], "unknown_field", "{place}: {error}");
            let fields = fields.into_iter().collect();
            assert_eq!(names(error["error"].as_str().unwrap()), fields, "{place}");
        }
    }
    server.stop().await;
}

/// A body that is too long is refused by the web server, not by a handler.
#[actix_web::test]
async fn an_error_of_the_web_server_has_the_form_of_all() {
    let journal = TempJournal::new();
    let server = server(&journal).await;
    let body = format!(r#"{{"consumer":"{}"}}"#, "x".repeat(300 * 1024));
    let request = TestRequest::post(body).path("/api/replay");
    let request = request.header("Authorization", &format!("Bearer {ADMIN}"));
    let answer = request.send(server.admin_address().unwrap()).await;
    assert_eq!(answer.status, 413);
    assert!(
        answer.text().contains(r#""code":"too_large""#),
        "{answer:?}"
    );
    server.stop().await;
}

#[test]
fn what_is_not_in_it_is_found() {
    let answer = |status: u16, kind: &str, body: &Value| {
        let answer = http::Response::builder().status(status);
        let answer = answer.header("content-type", kind).header("allow", "GET");
        TestResponse::from(answer.body(body.to_string().into_bytes()).unwrap())
    };
    let json = "application/json; charset=utf-8";
    let good = json!({ "deleted": 1 });
    let wrong = json!({ "deleted": 1, "more": 2 });
    let problem = json!({ "success": false, "error": "", "code": "not_found" });
    let odd = json!({ "success": false, "error": "", "code": "another" });
    let page = json!({ "dead": [], "next": null });
    let table = [
        (
            "DELETE",
            "/api/events?session=a",
            answer(200, json, &good),
            "",
        ),
        (
            "DELETE",
            "/api/events?session=a",
            answer(200, json, &wrong),
            "'more'",
        ),
        (
            "DELETE",
            "/api/events",
            answer(200, json, &json!({ "deleted": "1" })),
            "integer",
        ),
        (
            "DELETE",
            "/api/events",
            answer(200, "text/html", &good),
            "text/html",
        ),
        (
            "DELETE",
            "/api/events",
            answer(204, json, &good),
            "the status",
        ),
        ("GET", "/api/dead", answer(200, json, &page), ""),
        (
            "GET",
            "/api/dead",
            answer(200, json, &json!({ "dead": [] })),
            "next",
        ),
        (
            "GET",
            "/api/events/01a2171c",
            answer(404, json, &problem),
            "",
        ),
        (
            "GET",
            "/api/events/01a2171c",
            answer(404, json, &odd),
            "another",
        ),
        ("GET", "/api/nothing", answer(404, json, &problem), ""),
        ("GET", "/api/nothing", answer(404, json, &good), "deleted"),
        ("GET", "/api/nothing", answer(200, json, &good), "the path"),
        ("POST", "/api/stats", answer(405, json, &problem), ""),
        ("PUT", "/api/events", answer(405, json, &problem), "allows"),
    ];
    for (method, path, answer, expected) in table {
        let mut request = TestRequest::get(path);
        request.method = method.to_owned();
        let found = judge(&request, &answer).err().unwrap_or_default();
        let is_good = found.is_empty();
        assert!(
            is_good == expected.is_empty() && found.contains(expected),
            "{method} {path}: {found}, expected {expected}"
        );
    }
}
