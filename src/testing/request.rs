//! [`TestRequest`] and [`TestResponse`]: a request to a server under test or to a subscriber, and the answer.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use url::Url;

use crate::Timestamp;
use crate::relay::http_client::HttpClient;
use crate::signature::{Scheme, Secret, XWebhookSignature};

/// A request to a server under test, or one that a [`TestSubscriber`](super::TestSubscriber) has received.
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

    /// The value of the header `name` (in any case), the first if there are several.
    pub fn value(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
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
    #[allow(clippy::panic)] // a test wants to fail here
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
        let answered = answered.unwrap_or_else(|error| {
            let (method, path) = (&self.method, &self.path);
            panic!("{method} {path}, sent to {to}: no whole answer: {error}")
        });
        let answer = answered.response.into();
        if let Some(look) = LOOK.get() {
            look(self, &answer);
        }
        answer
    }
}

/// Has each answer to [`TestRequest::send`] in this process looked at, which may panic. Only the first call counts.
#[doc(hidden)]
pub fn look_at_answers(look: fn(&TestRequest, &TestResponse)) {
    // It is there already.
    let _ = LOOK.set(look);
}

static LOOK: OnceLock<fn(&TestRequest, &TestResponse)> = OnceLock::new();

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

/// How long [`TestRequest::send`] waits for the whole answer.
const TIMEOUT: Duration = Duration::from_secs(30);
