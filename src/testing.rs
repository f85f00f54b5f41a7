//! Helpers for tests of handlers and receivers: signed events, a clock to set, a handler that records
//! its events, and the real server on a free port.
//!
//! ```
//! use offhook::signature::Secret;
//! use offhook::testing::{self, Recorder, TestEvent};
//! use offhook::{Offhook, Source};
//!
//! # #[actix_web::main]
//! # async fn main() {
//! let secret = Secret::new("a-long-secret").unwrap();
//! let recorder = Recorder::default();
//! let server = testing::start(
//!     Offhook::builder()
//!         .source(Source::new("gateway").secret(secret.clone()))
//!         .handler("recorder", recorder.clone()),
//! )
//! .await;
//!
//! let request = TestEvent::message("+1234567890", "Hello!").session("408f").sign(&secret);
//! let response = request.send(server.public_address()).await;
//!
//! assert_eq!(response.status, 200);
//! assert_eq!(response.text(), r#"{"status":"received"}"#);
//! assert_eq!(recorder.events()[0].session_id(), Some("408f"));
//! server.stop().await;
//! # }
//! ```

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};
use url::Url;

pub use crate::clock::FakeClock;
use crate::relay::http_client::HttpClient;
use crate::server::Server;
use crate::settings::JournalSettings;
use crate::signature::{Scheme, Secret, XWebhookSignature};
use crate::{Delivery, Event, EventHandler, HandlerError, Offhook, Timestamp};

/// Starts the real server with both listeners on free ports of 127.0.0.1. By default there is no
/// journal: handlers run before the answer. A test can set a journal folder or its own journal.
///
/// # Panics
///
/// When the server does not start. The message says why.
#[allow(clippy::panic)] // a test wants to fail here
pub async fn start(offhook: Offhook) -> Server {
    let keeps_nothing = !offhook.has_custom_journal();
    let offhook = offhook.configure(|settings| {
        settings.server.bind.set_port(0);
        if keeps_nothing && settings.journal == JournalSettings::default() {
            settings.journal = JournalSettings::None;
        }
        if let Some(admin) = &mut settings.admin {
            admin.bind.set_port(0);
        }
    });
    let started = offhook.start().await;
    started.unwrap_or_else(|error| panic!("the server did not start: {error}"))
}

/// An event in the gateway's documented shape.
#[derive(Debug, Clone)]
pub struct TestEvent(Map<String, Value>);

impl TestEvent {
    /// Makes a text message.
    pub fn message(from: &str, text: &str) -> Self {
        Self::named("message")
            .field("from", from)
            .field("message", text)
            .field("type", "text")
    }

    /// Makes a status change of a sent message.
    pub fn status(message_id: &str, status: &str) -> Self {
        Self::named("status")
            .field("messageId", message_id)
            .field("status", status)
    }

    /// Makes a connection change of a session.
    pub fn connection(status: &str) -> Self {
        Self::named("connection").field("status", status)
    }

    /// Makes an event with any name.
    pub fn named(event: &str) -> Self {
        Self(Map::new()).field("event", event)
    }

    /// Sets the session.
    pub fn session(self, id: &str) -> Self {
        self.field("sessionId", id)
    }

    /// Sets the message's id.
    pub fn id(self, id: &str) -> Self {
        self.field("messageId", id)
    }

    /// Sets any field.
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// The body as JSON.
    pub fn body(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    /// Makes a request with this event, signed as [`XWebhookSignature`] expects.
    pub fn sign(&self, secret: &Secret) -> TestRequest {
        TestRequest::signed(self.body(), secret)
    }
}

/// A request to a server under test.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TestRequest {
    /// The method. Default: `POST`.
    pub method: String,
    /// The path. Default: `/webhook`.
    pub path: String,
    /// Headers besides `Host`, `Connection` and `Content-Length`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl TestRequest {
    /// Makes a POST without a signature.
    pub fn post(body: impl Into<Vec<u8>>) -> Self {
        Self {
            method: "POST".to_owned(),
            path: "/webhook".to_owned(),
            headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
            body: body.into(),
        }
    }

    /// Makes a GET of `path`.
    pub fn get(path: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            headers: Vec::new(),
            ..Self::post("").path(path)
        }
    }

    /// Makes a POST signed as [`XWebhookSignature`] expects.
    pub fn signed(body: impl Into<Vec<u8>>, secret: &Secret) -> Self {
        let request = Self::post(body);
        let signed = XWebhookSignature.sign(&request.body, secret, Timestamp::UNIX_EPOCH);
        signed.into_iter().fold(request, |request, header| {
            request.header(&header.name, &header.value)
        })
    }

    /// Sets the path.
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The request's bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: 127.0.0.1\r\n",
            self.method, self.path
        );
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", self.body.len());
        [head.as_bytes(), &self.body].concat()
    }

    /// Sends the request over a new connection and reads the answer.
    ///
    /// # Panics
    ///
    /// When no answer arrives within 30 s, or the request is not valid HTTP.
    pub async fn send(&self, to: SocketAddr) -> TestResponse {
        let url = Url::parse(&format!("http://{to}")).expect("an address is a host");
        let http = HttpClient::new(&url, 0).expect("no certificate is needed");
        let mut request = http::Request::builder()
            .method(self.method.as_str())
            .uri(format!("http://{to}{}", self.path))
            .header("Host", "127.0.0.1");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(self.body.clone().into());
        let request = request.expect("a request that HTTP allows");
        let answered = http.send(request, TIMEOUT, usize::MAX).await;
        answered.expect("a whole answer").response.into()
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TestResponse {
    /// The status code.
    pub status: u16,
    /// Names (in lower case) and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl TestResponse {
    /// The header `name` (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl From<http::Response<Vec<u8>>> for TestResponse {
    fn from(response: http::Response<Vec<u8>>) -> Self {
        let headers = response.headers().iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            (name.to_string(), value.into_owned())
        });
        Self {
            status: response.status().as_u16(),
            headers: headers.collect(),
            body: response.into_body(),
        }
    }
}

/// A handler that records its events. Clones share the recording.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Recorded>>);

#[derive(Debug, Default)]
struct Recorded {
    given: Vec<(Event, Delivery)>,
    fail: usize,
}

impl Recorder {
    /// Makes the next `attempts` attempts fail after they are recorded.
    pub fn fail_next(&self, attempts: usize) {
        self.lock().fail = attempts;
    }

    /// All events in the order they arrived.
    pub fn events(&self) -> Vec<Event> {
        let given = &self.lock().given;
        given.iter().map(|(event, _)| event.clone()).collect()
    }

    /// All deliveries in the order they arrived.
    pub fn deliveries(&self) -> Vec<Delivery> {
        let given = &self.lock().given;
        given.iter().map(|(_, delivery)| delivery.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl EventHandler for Recorder {
    async fn handle(&self, event: &Event, delivery: &Delivery) -> Result<(), HandlerError> {
        let mut recorded = self.lock();
        recorded.given.push((event.clone(), delivery.clone()));
        if recorded.fail > 0 {
            recorded.fail -= 1;
            return Err("the recorder was told to fail".into());
        }
        Ok(())
    }
}

/// How long [`TestRequest::send`] waits for the whole answer.
const TIMEOUT: Duration = Duration::from_secs(30);
