use std::sync::Mutex;

use actix_http::body::{BoxBody, to_bytes};
use actix_http::test::TestRequest;
use actix_web::http::StatusCode;
use actix_web::{App, test};
use async_trait::async_trait;

use super::*;
use crate::settings::JournalSettings;
use crate::signature::{Scheme as _, Secret, XWebhookSignature};
use crate::{Delivery, EventHandler, HandlerError, Offhook};

/// Remembers from which source and session events came.
#[derive(Default)]
struct Seen(Mutex<Vec<(String, Option<String>)>>);

#[async_trait]
impl EventHandler for &'static Seen {
    async fn handle(&self, _: &Event, delivery: &Delivery) -> Result<(), HandlerError> {
        let session = delivery.session().map(str::to_owned);
        let from = (delivery.source().to_owned(), session);
        self.0.lock().unwrap().push(from);
        Ok(())
    }
}

fn receiver(seen: &'static Seen) -> Receiver {
    let secret = || Secret::new(KEY).unwrap();
    let token = || Secret::new(TOKEN).unwrap();
    Offhook::builder()
        .source(Source::new("plain").path("/webhook").secret(secret()))
        .source(Source::new("below").path("/webhook/x").secret(secret()))
        .source(
            Source::new("token")
                .path("/webhook/t")
                .dangerous_unsigned(token()),
        )
        .source(Source::new("other").path("/other/hook").secret(secret()))
        .journal(JournalSettings::None)
        .handler("seen", seen)
        .receiver()
        .unwrap()
}

/// What comes of a request: the status, the headers, the body, and what a handler saw.
async fn outcome(
    seen: &Seen,
    status: StatusCode,
    headers: actix_http::header::HeaderMap,
    body: BoxBody,
) -> String {
    let mut headers: Vec<_> = headers.iter().map(|line| format!("{line:?}")).collect();
    headers.sort();
    let body = to_bytes(body).await.unwrap();
    let seen = std::mem::take(&mut *seen.0.lock().unwrap());
    format!("{status} {headers:?} {body:?} {seen:?}")
}

#[actix_web::test]
async fn the_servers_listener_answers_as_an_app_does_where_the_receiver_is_mounted() {
    let seen: &'static Seen = Box::leak(Box::default());
    let receiver = receiver(seen);
    let app = App::new()
        .configure(receiver.configure())
        .default_service(web::to(|| async { not_found() }));
    let app = test::init_service(app).await;
    let token = format!("/webhook/t/{TOKEN}");
    let token_and_session = format!("{token}/s%20%2F%25");
    let paths = [
        "/",
        "/webhook",
        "/webhook/",
        "/webhook//",
        "/webhook?a=b",
        "/%77ebhook",
        "/webhook/one",
        "/webhook/%6Fne%2Ftwo%20%25%C3%BC%ff",
        "/webhook/one/",
        "/webhook/one/two",
        "/webhook/x",
        "/webhook/x/one",
        "/webhook/x/one/two",
        "/webhook/t",
        "/webhook/t/wrong",
        "/webhook/t/wrong/one",
        &token,
        &token_and_session,
        "/other",
        "/other/hook",
        "/other/hook/one",
        "/other/hook%2Fone",
        "/OTHER/hook",
    ];
    let body = r#"{"event":"connection","status":"connected"}"#;
    let now = crate::Timestamp::UNIX_EPOCH;
    let signed = XWebhookSignature.sign(body.as_bytes(), &Secret::new(KEY).unwrap(), now);
    let mut statuses = std::collections::BTreeSet::new();
    for path in paths {
        for method in [Method::POST, Method::GET, Method::PUT] {
            for signature in [Some(signed[0].value.as_str()), Some("00"), None] {
                let mut request = TestRequest::default();
                request.uri(path).method(method.clone());
                let mut mounted = test::TestRequest::with_uri(path).method(method.clone());
                if let Some(signature) = signature {
                    request.insert_header(("x-webhook-signature", signature));
                    mounted = mounted.insert_header(("x-webhook-signature", signature));
                }
                let answer = receiver
                    .answer(request.set_payload(body).finish(), None)
                    .await;
                let (status, headers) = (answer.status(), answer.headers().clone());
                let served = outcome(seen, status, headers, answer.into_body()).await;
                let request = mounted.set_payload(body).to_request();
                let answer = test::call_service(&app, request).await;
                let headers = answer.headers().clone();
                let mounted = outcome(seen, answer.status(), headers, answer.into_body()).await;
                assert_eq!(served, mounted, "{method} {path} {signature:?}");
                statuses.insert(status.as_u16());
            }
        }
    }
    assert_eq!(statuses, [200, 401, 404, 405].into());
}

const KEY: &str = "a-secret-that-is-long";
const TOKEN: &str = "a-token-of-16-characters";
