//! A subscriber that answers as it is told, over a socket of its own: what it is asked it remembers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::rt;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use offhook::Timestamp;
use offhook::clock::{Clock as _, SystemClock};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::bounded;

/// Listens until the test's runtime ends.
#[derive(Clone)]
pub struct Subscriber {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    decide: Box<dyn FnMut(&Asked) -> Answer + Send>,
    requests: Vec<Asked>,
    connections: usize,
    open: usize,
    most_open: usize,
    broken_off: usize,
}

/// One request, as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub line: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub at: Instant,
    /// Whether it gets the answer that the subscriber has it.
    pub taken: bool,
}

impl Asked {
    /// The only value of a header, or `""`.
    pub fn header(&self, name: &str) -> &str {
        let values: Vec<_> = self.headers.get_all(name).iter().collect();
        assert!(values.len() <= 1, "{name}: {values:?}");
        values.first().map_or("", |value| value.to_str().unwrap())
    }

    /// A text of the body's JSON.
    pub fn field(&self, name: &str) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        body[name].as_str().unwrap().to_owned()
    }

    /// The body's `messageId`, or `""`.
    pub fn message_id(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        body["messageId"].as_str().unwrap_or_default().to_owned()
    }
}

/// One answer of a script.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A whole answer without body, with this header where it has one.
    Status(u16, Option<(&'static str, String)>),
    /// `Retry-After` with the date so many seconds from then.
    RetryAfterDate(u16, i64),
    /// Nothing, forever.
    Hang,
    /// 200, but not before it is told so.
    Held(watch::Receiver<bool>),
    /// These bytes, and an end.
    Cut(&'static str),
    /// A status and a body that does not end.
    Endless(u16),
    /// A status, and this text as its body.
    Text(u16, String),
    /// A status, and so many headers.
    LongHead(u16, usize),
    /// A status and headers that do not end.
    EndlessHead(u16),
    /// A status and the beginning of a body, whose rest never comes.
    Stuck(u16),
    /// A status and a body that comes byte by byte.
    Drip(u16),
}

impl From<u16> for Answer {
    fn from(status: u16) -> Self {
        Self::Status(status, None)
    }
}

impl Subscriber {
    /// Gives these answers in their order, whatever the connection, and 200 afterwards.
    pub async fn start(script: impl IntoIterator<Item = Answer>) -> Self {
        let mut script: std::collections::VecDeque<_> = script.into_iter().collect();
        Self::deciding(move |_| script.pop_front().unwrap_or(Answer::from(200))).await
    }

    /// Answers each request as `decide` says.
    pub async fn deciding(decide: impl FnMut(&Asked) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let subscriber = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(State {
                decide: Box::new(decide),
                requests: Vec::new(),
                connections: 0,
                open: 0,
                most_open: 0,
                broken_off: 0,
            })),
        };
        let serving = subscriber.clone();
        rt::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.state.lock().unwrap().connections += 1;
                let serving = serving.clone();
                // An error is the other side's end of the connection.
                rt::spawn(async move { serving.serve(BufReader::new(stream)).await.ok() });
            }
        });
        subscriber
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Gives this answer from now on.
    pub fn answer(&self, answer: impl Into<Answer>) {
        let answer = answer.into();
        self.state.lock().unwrap().decide = Box::new(move |_| answer.clone());
    }

    /// Everything it was asked so far.
    pub fn requests(&self) -> Vec<Asked> {
        self.state.lock().unwrap().requests.clone()
    }

    /// How often it was asked so far.
    pub fn count(&self) -> usize {
        self.state.lock().unwrap().requests.len()
    }

    /// How many requests have no answer yet.
    pub fn open(&self) -> usize {
        self.state.lock().unwrap().open
    }

    /// How many there were at once that had none.
    pub fn most_open(&self) -> usize {
        self.state.lock().unwrap().most_open
    }

    /// To how many it could not answer, because the other side had hung up.
    pub fn broken_off(&self) -> usize {
        self.state.lock().unwrap().broken_off
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    /// Waits until it was asked so often.
    pub async fn asked(&self, times: usize) -> Vec<Asked> {
        bounded(async {
            while self.count() < times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        self.requests()
    }

    /// Waits until it was asked so often, which must be all.
    pub async fn expect(&self, times: usize) -> Vec<Asked> {
        let asked = self.asked(times).await;
        assert_eq!(asked.len(), times, "{:?}", self.ids());
        asked
    }

    /// The ids of all messages that came, in their order.
    pub fn ids(&self) -> Vec<String> {
        self.requests().iter().map(Asked::message_id).collect()
    }

    async fn serve(&self, mut stream: Connection) -> std::io::Result<()> {
        loop {
            let mut asked = read(&mut stream).await?;
            let answer = {
                let mut state = self.state.lock().unwrap();
                let answer = (state.decide)(&asked);
                asked.taken = matches!(answer, Answer::Status(200, _) | Answer::Held(_));
                state.requests.push(asked);
                state.open += 1;
                state.most_open = state.most_open.max(state.open);
                answer
            };
            let written = answer.write(&mut stream).await;
            let mut state = self.state.lock().unwrap();
            state.open -= 1;
            state.broken_off += usize::from(written.is_err());
            written?;
        }
    }
}

type Connection = BufReader<TcpStream>;

async fn read(stream: &mut Connection) -> std::io::Result<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().lines();
    let line = lines.next().unwrap().to_owned();
    let mut headers = HeaderMap::new();
    for header in lines {
        let (name, value) = header.split_once(": ").unwrap();
        let value = HeaderValue::from_str(value).unwrap();
        headers.append(name.parse::<HeaderName>().unwrap(), value);
    }
    let length = headers["content-length"].to_str().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await?;
    Ok(Asked {
        line,
        headers,
        body,
        at: SystemClock.monotonic(),
        taken: false,
    })
}

impl Answer {
    /// Fails where the connection is not to be used again.
    async fn write(self, stream: &mut Connection) -> std::io::Result<()> {
        let ended = || Err(std::io::ErrorKind::ConnectionAborted.into());
        match self {
            Self::Status(status, None) => stream.write_all(&head(status, LENGTH_0)).await,
            Self::Status(status, Some((name, value))) => {
                let headers = format!("{name}: {value}\r\n{LENGTH_0}");
                stream.write_all(&head(status, &headers)).await
            }
            Self::RetryAfterDate(status, seconds) => {
                let date = SystemClock.now() + jiff::SignedDuration::from_secs(seconds);
                let headers = format!("Retry-After: {}\r\n{LENGTH_0}", http_date(date));
                stream.write_all(&head(status, &headers)).await
            }
            Self::Hang => {
                // Ends when the other side has had enough.
                stream.read_u8().await?;
                ended()
            }
            Self::Held(mut released) => tokio::select! {
                told = released.wait_for(|released| *released) => {
                    told.map_err(|_| std::io::ErrorKind::ConnectionAborted)?;
                    stream.write_all(&head(200, LENGTH_0)).await
                }
                // The other side has had enough.
                _ = stream.read_u8() => ended(),
            },
            Self::Cut(bytes) => {
                stream.write_all(bytes.as_bytes()).await?;
                ended()
            }
            Self::Endless(status) => {
                let headers = head(status, "Transfer-Encoding: chunked\r\n");
                stream.write_all(&headers).await?;
                let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
                loop {
                    stream.write_all(chunk.as_bytes()).await?;
                }
            }
            Self::Text(status, text) => {
                let headers = format!("Content-Length: {}\r\n", text.len());
                let answer = [head(status, &headers), text.into_bytes()].concat();
                stream.write_all(&answer).await
            }
            Self::LongHead(status, headers) => {
                let more = "Set-Cookie: one=1; Path=/; HttpOnly\r\n".repeat(headers - 1);
                let headers = format!("{more}{LENGTH_0}");
                stream.write_all(&head(status, &headers)).await
            }
            Self::EndlessHead(status) => {
                let line = format!("HTTP/1.1 {status} X\r\n");
                stream.write_all(line.as_bytes()).await?;
                loop {
                    stream.write_all(b"X-More: and more\r\n").await?;
                }
            }
            Self::Stuck(status) => {
                let headers = head(status, "Content-Length: 10\r\n");
                stream.write_all(&headers).await?;
                stream.write_all(b"{").await?;
                stream.read_u8().await?;
                ended()
            }
            Self::Drip(status) => {
                let headers = head(status, "Content-Length: 100000\r\n");
                stream.write_all(&headers).await?;
                loop {
                    stream.write_all(b"x").await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
}

fn head(status: u16, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Whatever\r\n{headers}\r\n").into_bytes()
}

fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

const LENGTH_0: &str = "Content-Length: 0\r\n";
