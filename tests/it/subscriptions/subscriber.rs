//! A subscriber that remembers what it gets, and answers as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Status(u16),
    /// Never.
    Hang,
}

/// What it got.
#[derive(Debug, Clone)]
pub struct Got {
    /// `POST /path?query`
    pub line: String,
    head: String,
    pub body: Vec<u8>,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut named = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value)
    }

    pub fn message_id(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        body["messageId"].as_str().unwrap_or_default().to_owned()
    }
}

/// A subscriber on a free port; ended with its owner.
pub struct Subscriber {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    answer: Mutex<Answer>,
    got: Mutex<Vec<Got>>,
}

impl Subscriber {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            answer: Mutex::new(Answer::Status(200)),
            got: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            task,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook?token=t", self.address)
    }

    pub fn answer(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    /// All that came, in its order.
    pub fn got(&self) -> Vec<Got> {
        self.shared.got.lock().unwrap().clone()
    }

    /// The ids of all messages that came, in their order.
    pub fn ids(&self) -> Vec<String> {
        self.got().iter().map(Got::message_id).collect()
    }

    /// Waits until `count` have come, which must be all.
    pub async fn expect(&self, count: usize) -> Vec<Got> {
        let enough = async || self.got().len() >= count;
        crate::served::until("delivered", enough).await;
        assert_eq!(self.got().len(), count);
        self.got()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            // The other side may end at any time.
            let _ = serve(stream, &shared).await;
        });
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let line = head.lines().next().unwrap_or_default();
        let mut got = Got {
            line: line.trim_end_matches(" HTTP/1.1").to_owned(),
            head,
            body: Vec::new(),
        };
        let length = got.header("content-length").unwrap_or("0");
        got.body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut got.body).await?;
        let answer = *shared.answer.lock().unwrap();
        shared.got.lock().unwrap().push(got);
        match answer {
            Answer::Hang => std::future::pending().await,
            Answer::Status(status) => {
                let answer = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await?;
            }
        }
    }
}
