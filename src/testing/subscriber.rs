//! [`TestSubscriber`]: a subscriber that answers as it is told.

use std::net::SocketAddr;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use super::arrivals::{Arrivals, HANG_LIMIT, beginning};
use super::request::TestRequest;

/// A subscriber on a free port of 127.0.0.1 that records what it is sent, and fails when it is told to. Clones
/// are the same subscriber. The relay goes there only if `allow_private` is set.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # #[actix_web::main]
/// # async fn main() {
/// use std::time::Duration;
/// use offhook::settings::SubscriptionSettings;
/// use offhook::signature::Secret;
/// use offhook::testing::{self, TempJournal, TestEvent, TestSubscriber};
/// use offhook::{HandlerOptions, Offhook, Retry, Source};
///
/// let secret = Secret::new("a-long-secret").unwrap();
/// let (journal, subscriber) = (TempJournal::new(), TestSubscriber::start());
/// let mut crm = SubscriptionSettings::new("crm", subscriber.url());
/// let mut retry = Retry::default();
/// retry.first = Duration::from_millis(10);
/// crm.options = HandlerOptions::default().retry(retry);
/// let server = testing::start(
///     Offhook::builder()
///         .journal(journal.settings())
///         .source(Source::new("gateway").secret(secret.clone()))
///         .configure(|settings| {
///             settings.relay.options.allow_private = true;
///             settings.subscriptions.push(crm);
///         }),
/// )
/// .await;
///
/// subscriber.fail_next(1);
/// let event = TestEvent::message("+1234567890", "Hello!");
/// event.sign(&secret).send(server.public_address()).await;
///
/// let requests = subscriber.wait_for(2).await;
/// assert_eq!(requests[1].body, event.body().into_bytes());
/// assert_eq!(requests[1].value("offhook-attempt"), Some("2"));
/// assert_eq!(requests[0].value("webhook-id"), requests[1].value("webhook-id"));
/// server.stop().await;
/// subscriber.stop().await;
/// # }
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// ```
#[derive(Debug, Clone)]
pub struct TestSubscriber {
    address: SocketAddr,
    state: Arc<State>,
    server: ServerHandle,
}

#[derive(Debug)]
struct State {
    requests: Arrivals<TestRequest>,
    /// How many requests are still to be answered 500.
    failing: AtomicUsize,
    status: AtomicU16,
}

impl TestSubscriber {
    /// Starts it. It answers 200 to every request.
    ///
    /// # Panics
    ///
    /// Outside an actix runtime, or when there is no free port.
    pub fn start() -> Self {
        let state = Arc::new(State {
            requests: Arrivals::default(),
            failing: AtomicUsize::new(0),
            status: AtomicU16::new(200),
        });
        let shared = web::Data::from(Arc::clone(&state));
        let app = move || {
            App::new()
                .app_data(shared.clone())
                .app_data(web::PayloadConfig::new(MAX_BODY))
                .default_service(web::to(answer))
        };
        let server = HttpServer::new(app).workers(1).disable_signals();
        let server = server.bind(("127.0.0.1", 0)).expect("a free port");
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        actix_rt::spawn(server);
        Self {
            address,
            state,
            server: handle,
        }
    }

    /// Its URL, with the path `/webhook`.
    pub fn url(&self) -> String {
        format!("http://{}/webhook", self.address)
    }

    /// Answers all requests from now on with this status and an empty body.
    ///
    /// # Panics
    ///
    /// When the status is not one of HTTP's, from 200 to 999.
    pub fn answer(&self, status: u16) {
        assert!((200..1000).contains(&status), "{status} is no answer");
        self.state.status.store(status, Ordering::SeqCst);
    }

    /// Answers the next `requests` requests with 500.
    pub fn fail_next(&self, requests: usize) {
        self.state.failing.store(requests, Ordering::SeqCst);
    }

    /// All requests in the order they arrived.
    pub fn requests(&self) -> Vec<TestRequest> {
        self.state.requests.all()
    }

    /// Waits until at least `count` requests have arrived, and returns all of them. Each attempt counts.
    ///
    /// # Panics
    ///
    /// After 30 s. The message names the line of the test, and lists what has arrived.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> impl Future<Output = Vec<TestRequest>> + use<'_> {
        self.wait_for_within(count, HANG_LIMIT)
    }

    /// As [`TestSubscriber::wait_for`], with another limit.
    ///
    /// # Panics
    ///
    /// After `limit`.
    #[track_caller]
    pub fn wait_for_within(
        &self,
        count: usize,
        limit: Duration,
    ) -> impl Future<Output = Vec<TestRequest>> + use<'_> {
        let place = Location::caller();
        async move {
            let shown = |request: &TestRequest| {
                let TestRequest {
                    method, path, body, ..
                } = request;
                format!("{method} {path}: {}", beginning(body))
            };
            let requests = &self.state.requests;
            requests.wait_for(count, limit, place, shown).await
        }
    }

    /// Closes its port and all connections: from now on it is down.
    pub async fn stop(&self) {
        self.server.stop(false).await;
    }
}

async fn answer(state: web::Data<State>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let one_less = |left: usize| left.checked_sub(1);
    let fails = state
        .failing
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
    let status = match fails {
        Ok(_) => 500,
        Err(_) => state.status.load(Ordering::SeqCst),
    };
    let headers = request.headers().iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.to_string(), value.into_owned())
    });
    let mut arrived = TestRequest::post(body).path(&request.uri().to_string());
    arrived.method = request.method().to_string();
    arrived.headers = headers.collect();
    state.requests.push(arrived);
    HttpResponse::new(StatusCode::from_u16(status).unwrap_or(StatusCode::OK))
}

/// More than the largest body that the engine `sqlite` stores.
const MAX_BODY: usize = 1024 * 1024 * 1024;
