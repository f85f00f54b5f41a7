//! A receiver in an actix `App` that is not ours: its admin API, and its stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{App, HttpResponse, test, web};
use offhook::settings::JournalSettings;
use offhook::testing::{Recorder, TempJournal, TestEvent};
use offhook::{Delivery, Event, EventHandler, HandlerError, Offhook, Receiver, async_trait};

use crate::support::{KEY, bounded, secret, source};

fn receiver(journal: JournalSettings, handler: impl EventHandler) -> Receiver {
    let offhook = Offhook::builder().journal(journal).source(source());
    offhook.handler("recorder", handler).receiver().unwrap()
}

fn post(id: &str) -> test::TestRequest {
    let event = TestEvent::message("+1", "Hello!").id(id);
    let request = event.sign(&secret(KEY));
    let signature = request.value("X-Webhook-Signature").unwrap();
    test::TestRequest::post()
        .uri("/hooks/webhook")
        .insert_header(("X-Webhook-Signature", signature))
        .set_payload(request.body.clone())
}

/// A request to the mounted admin API, of this machine.
fn ask(path: &str) -> test::TestRequest {
    test::TestRequest::get()
        .uri(&format!("/ops{path}"))
        .insert_header(("Host", "127.0.0.1:8080"))
        .peer_addr(SocketAddr::from(([127, 0, 0, 1], 9)))
}

macro_rules! app {
    ($receiver:expr) => {
        test::init_service(
            App::new()
                .service(web::scope("/ops").configure($receiver.admin()))
                .service(web::scope("/hooks").configure($receiver.configure()))
                .default_service(web::to(|| async { HttpResponse::Ok().body("my own page") })),
        )
        .await
    };
}

/// Whoever asks: a proxy may hide that.
#[actix_web::test]
async fn a_mounted_admin_api_without_a_token_tells_only_its_health() {
    let receiver = receiver(TempJournal::new().settings(), Recorder::default());
    let app = app!(receiver);
    let stranger = SocketAddr::from(([10, 0, 0, 1], 9));
    let table = [
        (ask("/health"), 200),
        (ask("/ready"), 200),
        (ask("/health").peer_addr(stranger), 200),
        (ask("/ready").insert_header(("Host", "my.example")), 200),
        (ask("/metrics"), 403),
        (ask("/api/events"), 403),
        (ask("/api/consumers"), 403),
        (ask("/sessions/a/webhook"), 403),
        (ask("/none"), 403),
        (
            ask("/api/events").insert_header(("Authorization", "Bearer ")),
            403,
        ),
        (ask("/api/events").uri("/api/events"), 200),
    ];
    for (request, status) in table {
        let request = request.to_request();
        let path = request.path().to_owned();
        let answer = test::call_service(&app, request).await;
        assert_eq!(answer.status(), status, "{path}");
        let body = test::read_body(answer).await;
        assert_eq!(body == "my own page", path == "/api/events", "{path}");
        let text = String::from_utf8_lossy(&body);
        assert_eq!(text.contains("admin_token"), status == 403, "{text}");
    }
    receiver.stop().await;
}

#[actix_web::test]
async fn a_mounted_admin_api_wants_its_token() {
    let (journal, recorder) = (TempJournal::new(), Recorder::default());
    let receiver = Offhook::builder()
        .journal(journal.settings())
        .source(source())
        .handler("recorder", recorder.clone())
        .admin_token(secret("a-token-of-the-admin"))
        .receiver()
        .unwrap();
    let app = app!(receiver);
    assert_eq!(
        test::call_service(&app, post("1").to_request())
            .await
            .status(),
        200
    );
    recorder.wait_for(1).await;
    let stranger = SocketAddr::from(([10, 0, 0, 1], 9));
    let with = |path: &str, token: &str| {
        let value = format!("Bearer {token}");
        ask(path)
            .peer_addr(stranger)
            .insert_header(("Authorization", value))
    };
    let table = [
        (ask("/health").peer_addr(stranger), 200),
        (ask("/metrics"), 401),
        (with("/metrics", "another-token"), 401),
        (with("/metrics", "a-token-of-the-admin"), 200),
        (with("/api/events", "a-token-of-the-admin"), 200),
        (with("/none", "another-token"), 401),
        (with("/none", "a-token-of-the-admin"), 404),
        (
            with("/api/events", "a-token-of-the-admin")
                .insert_header(("Sec-Fetch-Site", "cross-site")),
            403,
        ),
    ];
    for (request, status) in table {
        let request = request.to_request();
        let path = request.path().to_owned();
        let answer = test::call_service(&app, request).await;
        assert_eq!(answer.status(), status, "{path}");
    }
    receiver.stop().await;
}

/// Takes its time, and says when it is done.
#[derive(Clone, Default)]
struct Slow {
    begun: Recorder,
    is_done: Arc<AtomicBool>,
}

#[async_trait]
impl EventHandler for Slow {
    async fn handle(&self, event: &Event, delivery: &Delivery) -> Result<(), HandlerError> {
        self.begun.handle(event, delivery).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.is_done.store(true, Ordering::SeqCst);
        Ok(())
    }
}

#[actix_web::test]
async fn a_stopped_receiver_has_finished_what_ran() {
    let (journal, slow) = (TempJournal::new(), Slow::default());
    let stopped = receiver(journal.settings(), slow.clone());
    let app = app!(stopped);
    assert_eq!(
        test::call_service(&app, post("1").to_request())
            .await
            .status(),
        200
    );
    slow.begun.wait_for(1).await;
    bounded(stopped.stop()).await;
    assert!(slow.is_done.load(Ordering::SeqCst));
    // Again, and at the same time.
    let clone = stopped.clone();
    bounded(async { tokio::join!(stopped.stop(), clone.stop()) }).await;
    let answer = test::call_service(&app, post("2").to_request()).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers().get("Retry-After").unwrap(), "1");
    let ready = test::call_service(&app, ask("/ready").to_request()).await;
    assert_eq!(ready.status(), 503);

    // The journal is closed: another receiver continues, and nothing comes again.
    let recorder = Recorder::default();
    let next = receiver(journal.settings(), recorder.clone());
    let app = app!(next);
    assert_eq!(
        test::call_service(&app, post("3").to_request())
            .await
            .status(),
        200
    );
    let events = recorder.wait_for(1).await;
    assert_eq!(events.len(), 1);
    next.stop().await;
    assert_eq!(recorder.deliveries()[0].attempt(), 1);
}

#[actix_web::test]
async fn a_stopped_receiver_runs_no_handler() {
    let recorder = Recorder::default();
    let receiver = receiver(JournalSettings::None, recorder.clone());
    let app = app!(receiver);
    receiver.stop().await;
    let answer = test::call_service(&app, post("1").to_request()).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(recorder.events().is_empty());
}
