//! Tests the route table, through an `App` that mounts the receiver.

use std::sync::Mutex;

use actix_http::{Method, StatusCode};
use actix_web::dev::{Service, ServiceResponse};
use actix_web::http::header::ALLOW;
use actix_web::{App, HttpResponse, test, web};
use async_trait::async_trait;

use super::Source;
use crate::settings::JournalSettings;
use crate::signature::{Limits, Scheme as _, Secret, XWebhookSignature};
use crate::{Delivery, Event, EventHandler, HandlerError, Offhook, Receiver};

/// Records the source and session of each event.
#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

#[async_trait]
impl EventHandler for &'static Seen {
    async fn handle(&self, _: &Event, delivery: &Delivery) -> Result<(), HandlerError> {
        let from = match delivery.session() {
            Some(session) => format!("{} {session}", delivery.source()),
            None => delivery.source().to_owned(),
        };
        self.0.lock().unwrap().push(from);
        Ok(())
    }
}

fn sources() -> Vec<Source> {
    let secret = || Secret::new(KEY).unwrap();
    vec![
        Source::new("plain").path("/webhook").secret(secret()),
        Source::new("below").path("/webhook/x").secret(secret()),
        Source::new("token")
            .path("/webhook/t")
            .dangerous_unsigned(Secret::new(TOKEN).unwrap()),
        Source::new("other").path("/other/hook").secret(secret()),
    ]
}

fn receiver(seen: &'static Seen) -> Receiver {
    let builder = Offhook::builder().journal(JournalSettings::None);
    let builder = sources().into_iter().fold(builder, Offhook::source);
    builder.handler("seen", seen).receiver().unwrap()
}

/// The result of a request with a valid signature: its status, and the source of its event.
async fn outcome(
    app: &impl Service<actix_http::Request, Response = ServiceResponse, Error = actix_web::Error>,
    seen: &Seen,
    method: &Method,
    path: &str,
) -> (u16, Option<String>) {
    let body = r#"{"event":"connection","status":"connected"}"#;
    let now = crate::Timestamp::UNIX_EPOCH;
    let signed = XWebhookSignature.sign(body.as_bytes(), &Secret::new(KEY).unwrap(), now);
    let request = test::TestRequest::with_uri(path)
        .method(method.clone())
        .insert_header(("x-webhook-signature", signed[0].value.as_str()))
        .set_payload(body);
    let answer = test::call_service(app, request.to_request()).await;
    if answer.status() == StatusCode::METHOD_NOT_ALLOWED {
        assert_eq!(answer.headers().get(ALLOW).unwrap(), "POST", "{path}");
    }
    let from = seen.0.lock().unwrap().pop();
    (answer.status().as_u16(), from)
}

#[actix_web::test]
async fn each_address_leads_to_its_source() {
    let seen: &'static Seen = Box::leak(Box::default());
    let receiver = receiver(seen);
    let later = || HttpResponse::NotFound().finish();
    let app = App::new()
        .service(
            web::scope("/scope")
                .configure(receiver.configure())
                .route("/own", web::to(|| async { "own" })),
        )
        .configure(receiver.configure())
        .default_service(web::to(move || async move { later() }));
    let app = test::init_service(app).await;
    let token = format!("/webhook/t/{TOKEN}");
    let token_and_session = format!("{token}/s%20%2F%25");
    let table: [(&str, u16, Option<&str>); 29] = [
        ("/", 404, None),
        ("/webhook", 200, Some("plain")),
        ("/webhook/", 200, Some("plain")),
        ("/webhook//", 404, None),
        ("/webhook?a=b", 200, Some("plain")),
        ("/%77ebhook", 200, Some("plain")),
        ("/webhook/one", 200, Some("plain one")),
        (
            "/webhook/%6Fne%2Ftwo%20%25%C3%BC",
            200,
            Some("plain one/two %ü"),
        ),
        ("/webhook/one/", 200, Some("plain one")),
        ("/webhook/one//", 404, None),
        ("//webhook", 404, None),
        ("/webhook/one/two", 404, None),
        ("/webhook/x", 200, Some("below")),
        ("/webhook/x/one", 200, Some("below one")),
        ("/webhook/x/one/two", 404, None),
        // The path of a source with a token is also a session path of the source above it.
        ("/webhook/t", 200, Some("plain t")),
        ("/webhook/t/wrong", 401, None),
        ("/webhook/t/wrong/one", 401, None),
        (&token, 200, Some("token")),
        (&token_and_session, 200, Some("token s /%")),
        ("/other", 404, None),
        ("/other/hook", 200, Some("other")),
        ("/other/hook/one", 200, Some("other one")),
        ("/other/hook%2Fone", 404, None),
        ("/OTHER/hook", 404, None),
        ("/scope/webhook", 200, Some("plain")),
        ("/scope/webhook/one", 200, Some("plain one")),
        ("/scope/other", 404, None),
        ("/scope", 404, None),
    ];
    for (path, status, from) in table {
        let found = outcome(&app, seen, &Method::POST, path).await;
        assert_eq!(found, (status, from.map(str::to_owned)), "{path}");
        let other = if status == 404 { 404 } else { 405 };
        for method in [Method::GET, Method::PUT] {
            let found = outcome(&app, seen, &method, path).await;
            assert_eq!(found, (other, None), "{method} {path}");
        }
    }
    let own = outcome(&app, seen, &Method::POST, "/scope/own").await;
    assert_eq!(own, (200, None));
}

#[actix_web::test]
async fn a_replaced_table_counts_from_the_next_request() {
    let seen: &'static Seen = Box::leak(Box::default());
    let receiver = receiver(seen);
    let app = test::init_service(App::new().configure(receiver.configure())).await;
    let post = async |path: &str| outcome(&app, seen, &Method::POST, path).await;
    assert_eq!(post("/webhook").await, (200, Some("plain".to_owned())));
    assert_eq!(post("/new").await, (404, None));

    let secret = Secret::new(KEY).unwrap();
    let sources = vec![Source::new("new").path("/new").secret(secret)];
    let ingress = &receiver.parts().ingress;
    let next = ingress.prepare(sources, &Limits::default(), false).unwrap();
    assert_eq!(post("/new").await, (404, None), "it is only prepared");
    ingress.replace(next);
    assert_eq!(post("/webhook").await, (404, None));
    assert_eq!(post("/new/s").await, (200, Some("new s".to_owned())));
}

/// A request that asks before it sends its body gets the same answer as the request itself would, and
/// the connection is closed, because the body may still arrive.
#[actix_web::test]
async fn expect_passes_the_checks_of_the_request() {
    let seen: &'static Seen = Box::leak(Box::default());
    let receiver = receiver(seen);
    let signature = "0".repeat(64);
    let table = [
        (Method::POST, "/webhook", Some(&*signature), "10", None),
        (Method::POST, "/webhook", None, "10", Some(401)),
        (
            Method::POST,
            "/webhook",
            Some(&*signature),
            "99999999",
            Some(413),
        ),
        (Method::POST, "/webhook", None, "99999999", Some(413)),
        (Method::GET, "/webhook", Some(&*signature), "10", Some(405)),
        (Method::POST, "/nowhere", Some(&*signature), "10", Some(404)),
    ];
    for (method, path, signature, length, refused) in table {
        let mut request = actix_http::test::TestRequest::with_uri(path);
        request.method(method);
        request.insert_header(("content-length", length));
        if let Some(signature) = signature {
            request.insert_header(("x-webhook-signature", signature));
        }
        let mut request = request.finish();
        let ingress = &receiver.parts().ingress;
        let before = ingress.before_continue(request.head());
        let payload = request.take_payload();
        let path = request.path().to_owned();
        let answer = ingress.answer_at(&path, request.head(), payload).await;
        let Some(before) = before else {
            assert!(answer.is_none() && refused == Some(404), "{path}");
            continue;
        };
        let status = before.as_ref().err().map(|answer| answer.status().as_u16());
        assert_eq!(status, refused, "{path} {length}");
        if let Err(before) = before {
            assert_eq!(answer.unwrap().status(), before.status(), "{path} {length}");
            assert!(before.head().connection_type() == actix_http::ConnectionType::Close);
        }
    }
}

const KEY: &str = "a-secret-that-is-long";
const TOKEN: &str = "a-token-of-16-characters";
