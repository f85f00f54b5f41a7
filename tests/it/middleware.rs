//! The pieces alone, in actix `App`s that are not ours.

use actix_web::{App, HttpResponse, test, web};
use offhook::settings::JournalSettings;
use offhook::signature::{InFlight, Limits, Verified, Verifier, VerifySignature};
use offhook::testing::Recorder;
use offhook::{Offhook, Timestamp};

use crate::support::{DOCUMENTED, KEY, secret, signed, source};

fn request(path: &str, body: &'static str) -> test::TestRequest {
    let signature = signed(body).headers[1].1.clone();
    test::TestRequest::post()
        .uri(path)
        .insert_header(("X-Webhook-Signature", signature))
        .set_payload(body)
}

fn verify() -> VerifySignature {
    VerifySignature::new(Verifier::new("gateway").secret(secret(KEY)))
}

#[actix_web::test]
async fn the_middleware_gives_the_body_to_any_extractor() {
    let app = App::new()
        .service(
            web::resource("/verified/{session}").route(
                web::post()
                    .to(|verified: Verified| async move {
                        let session = verified.sender().session.clone().unwrap_or_default();
                        format!("{session}: {} bytes", verified.body().len())
                    })
                    .wrap(verify()),
            ),
        )
        .service(web::resource("/json").wrap(verify()).route(web::post().to(
            |json: web::Json<serde_json::Value>| async move { json["messageId"].to_string() },
        )));
    let app = test::init_service(app).await;
    let answer = test::call_and_read_body(&app, request("/verified/s", "12345").to_request()).await;
    assert_eq!(answer, "s: 5 bytes");
    let json = request("/json", DOCUMENTED[0]).insert_header(("Content-Type", "application/json"));
    let answer = test::call_and_read_body(&app, json.to_request()).await;
    assert_eq!(answer, r#""3EB0C767D0F2B64C7C5B""#);

    let forged = request("/json", DOCUMENTED[0])
        .set_payload(DOCUMENTED[1])
        .to_request();
    let error = test::try_call_service(&app, forged).await.unwrap_err();
    assert_eq!(error.as_response_error().status_code(), 401);
}

/// A body that comes in pieces, with pauses.
fn in_pieces(pieces: usize, pause: u64) -> actix_web::dev::Payload {
    let stream = futures_util::stream::unfold(0, move |sent| async move {
        if sent == pieces {
            return None;
        }
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
        Some((Ok(bytes::Bytes::from_static(&[b'x'; 1000])), sent + 1))
    });
    actix_web::dev::Payload::Stream {
        payload: Box::pin(stream),
    }
}

#[actix_web::test]
async fn the_middleware_wants_a_body_to_go_on() {
    let mut limits = Limits::default();
    limits.request_timeout = std::time::Duration::from_millis(1500);
    limits.min_body_rate = 1000;
    let handler =
        |verified: Verified| async move { HttpResponse::Ok().body(verified.body().clone()) };
    let resource = web::resource("/").route(web::post().to(handler).wrap(verify().limits(limits)));
    let app = test::init_service(App::new().service(resource)).await;
    // Fast enough for 3 s, too slow, silent.
    for (pieces, pause, status) in [(30, 100, 200), (4, 1300, 408), (1, 60_000, 408)] {
        let body = "x".repeat(pieces * 1000);
        let signature = signed(body).headers[1].1.clone();
        let request = test::TestRequest::post().uri("/");
        let request = request.insert_header(("X-Webhook-Signature", signature));
        let (request, _) = request
            .to_request()
            .replace_payload(in_pieces(pieces, pause));
        let found = match test::try_call_service(&app, request).await {
            Ok(answer) => answer.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        assert_eq!(found, status, "{pieces} pieces");
    }
}

#[actix_web::test]
async fn the_middleware_has_limits_of_its_own() {
    let mut limits = Limits::default();
    limits.max_body = 10;
    limits.in_flight = InFlight::new(10);
    let handler =
        |verified: Verified| async move { HttpResponse::Ok().body(verified.body().clone()) };
    let resource = web::resource("/").route(web::post().to(handler).wrap(verify().limits(limits)));
    let app = test::init_service(App::new().service(resource)).await;
    for (body, status) in [("0123456789", 200), ("0123456789a", 413)] {
        let answer = test::try_call_service(&app, request("/", body).to_request()).await;
        let answered = match answer {
            Ok(response) => response.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        assert_eq!(answered, status, "{body}");
    }
}

#[actix_web::test]
async fn an_extractor_without_the_middleware_fails_closed() {
    let handler = |_: Verified| async { "verified" };
    let app = App::new().route("/", web::post().to(handler));
    let app = test::init_service(app).await;
    let answer = test::call_service(&app, request("/", "{}").to_request()).await;
    assert_eq!(answer.status(), 500);
}

#[actix_web::test]
async fn a_mounted_receiver_works_in_a_scope() {
    let recorder = Recorder::default();
    let receiver = Offhook::builder()
        .journal(JournalSettings::None)
        .source(source())
        .handler("recorder", recorder.clone())
        .receiver()
        .unwrap();
    let app = App::new()
        .route("/", web::get().to(|| async { "my own page" }))
        .service(web::scope("/hooks").configure(receiver.configure()));
    let app = test::init_service(app).await;
    let answer = test::call_service(&app, request("/hooks/webhook", "{}").to_request()).await;
    assert_eq!(answer.status(), 200);
    let answer = test::call_service(&app, request("/hooks/webhook/408f", "{}").to_request()).await;
    assert_eq!(answer.status(), 200);
    let answer = test::call_service(&app, request("/webhook", "{}").to_request()).await;
    assert_eq!(answer.status(), 404);
    let page = test::call_and_read_body(&app, test::TestRequest::get().to_request()).await;
    assert_eq!(page, "my own page");
    assert_eq!(recorder.deliveries()[1].session(), Some("408f"));
    assert!(recorder.deliveries()[0].received_at() > Timestamp::UNIX_EPOCH);
}
