//! What the fake gateways have in common: an API, an exchange with the server, and the answers of the bot.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, rt};
use offhook::testing::{TestRequest, TestResponse};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use url::Url;

use super::bot::AT_ONCE;
use super::{KILLS, text};
use crate::support::{bounded, read_answer};

/// A request to a gateway's API.
#[derive(Debug)]
pub struct Asked {
    /// `GET /path`
    pub line: String,
    headers: BTreeMap<String, String>,
    /// `Null` if it is no JSON.
    pub body: Value,
}

impl Asked {
    /// The value of a header, by its name in lower case, or `""`.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// An API that answers with a status and JSON, on threads of its own.
pub fn api<F, R>(answer: F) -> SocketAddr
where
    F: Fn(Asked) -> R + Clone + Send + 'static,
    R: Future<Output = (u16, Value)> + 'static,
{
    let make = move || {
        let answer = answer.clone();
        let handle = move |request: HttpRequest, body: Bytes| {
            let headers = request.headers().iter().map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.to_string(), value)
            });
            let answered = answer(Asked {
                line: format!("{} {}", request.method(), request.path()),
                headers: headers.collect(),
                body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            });
            async move {
                let (status, json) = answered.await;
                let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap());
                response.content_type("application/json");
                response.body(json.to_string())
            }
        };
        App::new().default_service(web::to(handle))
    };
    let server = HttpServer::new(make).workers(1).disable_signals();
    let server = server.bind("127.0.0.1:0").unwrap();
    let address = server.addrs()[0];
    rt::spawn(server.run());
    address
}

/// A port that no other program gets by chance while the server is dead: it is below those that the system gives.
pub fn port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let start = 10_000 + u16::try_from(std::process::id() % 20_000).unwrap();
    let mut ports = start + 100 * TAKEN.fetch_add(1, Ordering::Relaxed)..32_000;
    let free = ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.unwrap()
}

/// The answer to a request; `None` where the connection breaks, as while the server is dead.
pub async fn post(to: SocketAddr, request: &TestRequest) -> Option<TestResponse> {
    let exchange = async {
        let mut stream = TcpStream::connect(to).await.ok()?;
        stream.write_all(&request.bytes()).await.ok()?;
        read_answer(&mut stream).await.ok()
    };
    bounded(exchange).await
}

/// The address and the path of a registered URL.
pub fn parts(url: &str) -> (SocketAddr, String) {
    let url = Url::parse(url).unwrap();
    let address = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    (address.parse().unwrap(), url.path().to_owned())
}

/// What happens to an event after a try.
pub enum After {
    Taken,
    Again(Duration),
    Lost,
}

/// Sends an event until the gateway ends it. Returns whether it was taken, and how often it was tried. With `is_lost`
/// the first answer does not reach the gateway.
pub async fn deliver(
    to: SocketAddr,
    is_lost: bool,
    request: impl Fn() -> TestRequest,
    after: impl Fn(u32, Option<&TestResponse>) -> After,
) -> (bool, u32) {
    let mut tries = 0;
    loop {
        let answer = post(to, &request()).await;
        tries += 1;
        let answer = answer.filter(|_| tries > 1 || !is_lost);
        match after(tries, answer.as_ref()) {
            After::Taken => return (true, tries),
            After::Lost => return (false, tries),
            After::Again(pause) => rt::time::sleep(pause).await,
        }
    }
}

/// The answers of the bot: of each text that it answers, the ids under which it has got it, one for each answer.
#[derive(Clone, Default)]
pub struct Answers(Arc<Mutex<BTreeMap<String, Vec<String>>>>);

impl Answers {
    /// Takes what the bot sends.
    pub fn take(&self, asked: &Asked, sent: &Value) {
        let sent = sent.as_str().unwrap();
        let question = sent.strip_prefix("re: ").unwrap().to_owned();
        let id = asked.header("idempotency-key").to_owned();
        let mut answers = self.0.lock().unwrap();
        answers.entry(question).or_default().push(id);
    }

    /// So many texts are answered.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// That all messages were answered and nothing else, each under one id; and twice only what was with the bot when
    /// it was killed.
    pub fn check(&self, messages: usize) {
        let answers = self.0.lock().unwrap();
        let expected: BTreeSet<String> = (0..messages).map(text).collect();
        let found: BTreeSet<String> = answers.keys().cloned().collect();
        assert_eq!(found, expected);
        let mut again = 0;
        for (question, ids) in &*answers {
            let different: BTreeSet<_> = ids.iter().collect();
            assert_eq!(different.len(), 1, "{question} came under {ids:?}");
            again += ids.len() - 1;
        }
        assert!(again <= KILLS * AT_ONCE, "{again} answered again");
        println!("{messages} messages over {KILLS} kills, {again} answered again");
    }
}
