//! A client of `/api/stream` over a raw connection, which can be cut off at any time.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::bounded;

/// One viewer.
pub struct Viewer {
    stream: TcpStream,
    /// What came and was not taken apart.
    raw: Vec<u8>,
    /// The text of the chunks so far, from the first block that was not returned.
    text: String,
    has_ended: bool,
    /// The number that a client goes on behind.
    pub id: String,
    pub head: String,
}

/// One block of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub event: String,
    pub id: Option<String>,
    pub data: Value,
}

impl Viewer {
    /// Begins to watch; what follows `/api/stream` in the path, and headers.
    pub async fn open(admin: SocketAddr, query: &str, headers: &str) -> Self {
        let viewer = Self::try_open(admin, query, headers).await;
        assert!(viewer.head.starts_with("HTTP/1.1 200 "), "{}", viewer.head);
        viewer
    }

    pub async fn try_open(admin: SocketAddr, query: &str, headers: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // What is not read fills it soon.
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let mut stream = bounded(socket.connect(admin)).await.unwrap();
        let head = format!("GET /api/stream{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(bounded(stream.read_u8()).await.unwrap());
        }
        Self {
            stream,
            raw: Vec::new(),
            text: String::new(),
            has_ended: false,
            id: String::new(),
            head: String::from_utf8(head).unwrap(),
        }
    }

    /// Reads on; `false` at the end.
    async fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let count = bounded(self.stream.read(&mut bytes)).await.unwrap_or(0);
        self.raw.extend_from_slice(&bytes[..count]);
        while let Some(line) = self.raw.windows(2).position(|two| two == b"\r\n") {
            let length = std::str::from_utf8(&self.raw[..line]).unwrap();
            let length = usize::from_str_radix(length, 16).unwrap();
            let end = line + 2 + length;
            if self.raw.len() < end + 2 {
                break;
            }
            self.has_ended |= length == 0;
            self.text += std::str::from_utf8(&self.raw[line + 2..end]).unwrap();
            self.raw.drain(..end + 2);
        }
        count > 0
    }

    /// The next block that is more than an id; `None` at the end.
    pub async fn next(&mut self) -> Option<Block> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                if let Some(block) = self.parse(&block) {
                    return Some(block);
                }
            }
            if self.has_ended || !self.read().await {
                return None;
            }
        }
    }

    fn parse(&mut self, text: &str) -> Option<Block> {
        let mut block = Block {
            event: String::new(),
            id: None,
            data: Value::Null,
        };
        for line in text.trim_end().lines() {
            match line.split_once(": ") {
                Some(("id", id)) => {
                    id.clone_into(&mut self.id);
                    block.id = Some(id.to_owned());
                }
                Some(("event", name)) => name.clone_into(&mut block.event),
                Some(("data", data)) => block.data = serde_json::from_str(data).unwrap(),
                Some(("retry", "2000")) => {}
                _ => assert!(line.starts_with(':'), "{text}"),
            }
        }
        (!block.event.is_empty()).then_some(block)
    }

    /// The next block, which must be of this kind.
    pub async fn expect(&mut self, event: &str) -> Block {
        let block = self.next().await.expect("a block");
        assert_eq!(block.event, event, "{block:?}");
        block
    }

    /// That nothing comes for a moment.
    pub async fn none_is_ready(&mut self) {
        let next = tokio::time::timeout(Duration::from_millis(150), self.next()).await;
        assert!(next.is_err(), "{next:?}");
    }

    /// Whether the stream has come to its end as HTTP has it, and not to that of the connection.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }
}

impl Viewer {
    /// The JSON of an answer that is no stream.
    pub async fn body(&mut self) -> Value {
        let head = self.head.to_ascii_lowercase();
        let length = head
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.lines().next());
        let mut body = vec![0; length.expect("a length").parse().unwrap()];
        bounded(self.stream.read_exact(&mut body)).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }
}
