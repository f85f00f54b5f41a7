//! `offhook serve` as a process on a folder of its own, to be killed and started again.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use offhook::clock::{Clock as _, SystemClock};
use offhook::testing::{TestRequest, TestResponse};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::{Folder, KEY, Program, address_in, read_answer};

/// A server that has started. Dropped, it is killed with SIGKILL.
pub struct Served {
    pub program: Program,
    pub public: SocketAddr,
    pub admin: SocketAddr,
}

/// A handler that writes to `handled.jsonl`, and tries for a long time.
pub const JSONL: &str = r#"
[[handlers]]
name = "kept"
use = "jsonl"
path = "handled.jsonl"
retry = { first = "50ms", factor = 1.0, attempts = 10000 }
"#;

/// Settings in `folder`: free ports, the journal in `journal`, and these handlers.
pub fn settings(folder: &Folder, handlers: &str) {
    let text = format!(
        "[server]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
         [[sources]]\nname = \"codeskytz\"\nsecrets = [\"{KEY}\"]\n\
         [journal]\npath = \"journal\"\n{handlers}"
    );
    std::fs::write(folder.0.join("settings.toml"), text).unwrap();
}

/// `offhook serve` in `folder`, in an environment that holds nothing of ours.
pub fn command(folder: &Folder) -> Command {
    within(folder, Command::new(env!("CARGO_BIN_EXE_offhook")))
}

/// Any program in `folder`, with `serve` as its last argument.
pub fn within(folder: &Folder, mut command: Command) -> Command {
    command.arg("serve").current_dir(&folder.0);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OFFHOOK_") {
            command.env_remove(name);
        }
    }
    command
}

impl Served {
    /// Starts on what the folder holds.
    pub fn start(folder: &Folder) -> Self {
        Self::try_start(&mut command(folder)).unwrap_or_else(|said| panic!("{said}"))
    }

    /// Starts; or returns what it said, where it does not start.
    pub fn try_start(command: &mut Command) -> Result<Self, String> {
        let program = Program::start(command);
        let webhooks = program.try_logged("/webhook")?;
        let admin = program.try_logged("/ready")?;
        Ok(Self {
            public: address_in(&webhooks),
            admin: address_in(&admin),
            program,
        })
    }

    /// The answer to a request; `None` where the connection breaks.
    pub async fn try_send(&self, request: &TestRequest) -> Option<TestResponse> {
        let exchange = async {
            let mut stream = TcpStream::connect(self.public).await.ok()?;
            stream.write_all(&request.bytes()).await.ok()?;
            read_answer(&mut stream).await.ok()
        };
        let exchange = tokio::time::timeout(LONGEST, exchange);
        exchange.await.expect("an answer in time")
    }

    /// Whether it accepts connections: only a dead one does not.
    pub async fn is_alive(&self) -> bool {
        TcpStream::connect(self.public).await.is_ok()
    }

    /// Whether it says that it takes events.
    pub async fn is_ready(&self) -> bool {
        let answer = TestRequest::get("/ready").send(self.admin).await;
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
        answer.status == 200
    }
}

/// The message ids in `handled.jsonl`, in their order. What a kill has cut short is left out.
pub fn handled(folder: &Folder) -> Vec<String> {
    let text = std::fs::read(folder.0.join("handled.jsonl")).unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n');
    let bodies = lines.filter_map(|line| {
        let line: Value = serde_json::from_slice(line).ok()?;
        Some(line["body"]["messageId"].as_str()?.to_owned())
    });
    bodies.collect()
}

/// The message ids in the journal of a server that has ended, in their order.
pub fn kept(folder: &Folder) -> Vec<String> {
    let file = folder.0.join("journal/journal.db");
    let database = rusqlite::Connection::open(file).unwrap();
    let sound = database.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    assert_eq!(sound.unwrap(), "ok");
    let mut blocks = database
        .prepare("SELECT events, sums FROM blocks ORDER BY last")
        .unwrap();
    let blocks = blocks.query_map([], |row| {
        Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?))
    });
    let blocks = blocks.unwrap().map(Result::unwrap);
    blocks
        .flat_map(|(events, sums)| message_ids(&events, &sums))
        .collect()
}

/// The message ids in the two blobs of a block, in their order.
pub fn message_ids(mut events: &[u8], sums: &[u8]) -> Vec<String> {
    let mut ids = Vec::new();
    // Length and checksum of each body, and then a checksum of all that.
    for mut length in sums.as_chunks::<8>().0.iter().map(|sum| &sum[..]) {
        let (event, rest) = events.split_at(number(&mut length) as usize);
        let body: Value = serde_json::from_slice(body(event)).unwrap();
        ids.push(body["messageId"].as_str().unwrap().to_owned());
        events = rest;
    }
    assert!(events.is_empty());
    ids
}

/// The body of one event, in the form that `src/journal/block.rs` describes.
fn body(mut event: &[u8]) -> &[u8] {
    // Id, time of receipt; then source and session.
    event = &event[24..];
    take(&mut event);
    take(&mut event);
    for _ in 0..2 * number(&mut event) {
        take(&mut event);
    }
    let (parts, rest) = event.split_first_chunk().unwrap();
    assert_eq!(u16::from_le_bytes(*parts), 0, "one event");
    event = rest;
    // Why it is odd, and the outlines of a body that is encoded.
    take(&mut event);
    let (outlines, rest) = event.split_first_chunk().unwrap();
    assert_eq!(u16::from_le_bytes(*outlines), 0, "not encoded");
    event = rest;
    take(&mut event)
}

fn take<'a>(from: &mut &'a [u8]) -> &'a [u8] {
    let length = number(from);
    let (taken, rest) = from.split_at(if length == u32::MAX {
        0
    } else {
        length as usize
    });
    *from = rest;
    taken
}

fn number(from: &mut &[u8]) -> u32 {
    let (number, rest) = from.split_first_chunk().unwrap();
    *from = rest;
    u32::from_le_bytes(*number)
}

/// Waits until it is so, for a limited time.
pub async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let started = SystemClock.monotonic();
    while !so().await {
        assert!(SystemClock.monotonic() - started < LONGEST, "not {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const LONGEST: Duration = Duration::from_secs(60);
