//! Connections of strangers, and what is seen of the server process from outside.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use offhook::clock::{Clock as _, SystemClock};
use offhook::testing::{TestRequest, TestResponse};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::served::Served;
use crate::support::{Folder, KEY, read_answer};

/// The address of the honest sender.
pub const HOME: Ipv4Addr = Ipv4Addr::LOCALHOST;

pub const TOKEN: &str = "0123456789abcdef-token";

/// The secret of the session `B` alone.
pub const KEY_OF_B: &str = "the-own-secret-of-B-alone";

/// Gives the session `B` a secret of its own.
pub const OWN_SECRET: &str = "sessions.\"B\".secrets = [\"the-own-secret-of-B-alone\"]";

/// Settings in `folder`. The admin listener has a token.
pub fn settings(folder: &Folder, server: &str, source: &str, rest: &str) {
    let text = format!(
        "[server]\nbind = \"127.0.0.1:0\"\n{server}\n\
         [admin]\nbind = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n\
         [journal]\npath = \"journal\"\n\
         [[sources]]\nname = \"codeskytz\"\nsecrets = [\"{KEY}\"]\n\
         {source}\n{rest}\n"
    );
    std::fs::write(folder.0.join("settings.toml"), text).unwrap();
}

/// Address `number` of this machine that is not [`HOME`].
pub fn elsewhere(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 2 + number % 200)
}

/// Connects from an address of this machine.
pub async fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    connect_with(from, to, None).await
}

/// Connects with a receive buffer that holds little, so that answers soon find no room.
pub async fn connect_deaf(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    connect_with(from, to, Some(4096)).await
}

async fn connect_with(
    from: Ipv4Addr,
    to: SocketAddr,
    receive_buffer: Option<u32>,
) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if from != HOME {
        socket.set_reuseaddr(true)?;
        socket.bind((from, 0).into())?;
    }
    tokio::time::timeout(HANG, socket.connect(to)).await?
}

/// Opens so many connections, and sends `bytes` on each.
pub async fn hold(from: Ipv4Addr, to: SocketAddr, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        if let Ok(stream) = connect(from, to).await {
            // A connection that gave way takes nothing.
            let _ = stream.try_write(bytes);
            held.push(stream);
        }
    }
    held
}

/// Sends the same on each connection, as far as it is taken now.
pub fn try_send_all(held: &[TcpStream], bytes: &[u8]) {
    for stream in held {
        let _ = stream.try_write(bytes);
    }
}

/// Sends requests on so many connections, until none of them takes more. No answer is read.
pub async fn send_unread(
    from: Ipv4Addr,
    to: SocketAddr,
    count: usize,
    requests: &[u8],
) -> (Vec<TcpStream>, usize) {
    let streams = join_all((0..count).map(|_| connect_deaf(from, to))).await;
    let streams: Vec<_> = streams.into_iter().flatten().collect();
    // Where each is in `requests`.
    let mut at = vec![0; streams.len()];
    let (mut sent, mut full_rounds, started) = (0, 0, SystemClock.monotonic());
    while full_rounds < 10 && SystemClock.monotonic() - started < UNREAD {
        let before = sent;
        for (stream, at) in streams.iter().zip(&mut at) {
            while let Ok(written) = stream.try_write(&requests[*at..]) {
                sent += written;
                *at = (*at + written) % requests.len();
            }
        }
        full_rounds = if sent == before { full_rounds + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (streams, sent)
}

/// The answer to one request, or what came instead of one.
pub async fn ask_on(stream: &mut TcpStream, bytes: &[u8]) -> Result<TestResponse, String> {
    let exchange = async {
        // The answer to a refused body may come before its end.
        let _ = stream.write_all(bytes).await;
        read_answer(stream).await
    };
    match tokio::time::timeout(HANG, exchange).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {HANG:?}")),
    }
}

/// The answer to a request over a connection of its own.
pub async fn ask(from: Ipv4Addr, to: SocketAddr, bytes: &[u8]) -> Result<TestResponse, String> {
    let connected = connect(from, to).await;
    let mut stream = connected.map_err(|error| format!("not connected: {error}"))?;
    ask_on(&mut stream, bytes).await
}

/// Its status, or 0 and what came instead.
pub async fn status(from: Ipv4Addr, to: SocketAddr, bytes: &[u8]) -> (u16, String) {
    match ask(from, to, bytes).await {
        Ok(answer) => (answer.status, answer.text()),
        Err(error) => (0, error),
    }
}

/// Everything that comes until the other side ends, or for so long.
pub async fn read_all(stream: &mut TcpStream, longest: Duration) -> Vec<u8> {
    let mut all = Vec::new();
    let reading = async { while matches!(stream.read_buf(&mut all).await, Ok(1..)) {} };
    let _ = tokio::time::timeout(longest, reading).await;
    all
}

/// A request of the administrator.
pub fn with_token(path: &str) -> TestRequest {
    TestRequest::get(path).header("Authorization", &format!("Bearer {TOKEN}"))
}

/// The JSON that the admin listener answers.
pub async fn api(served: &Served, path: &str) -> Value {
    let answer = ask(HOME, served.admin, &with_token(path).bytes()).await;
    let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

/// All events that the server shows, newest first.
pub async fn all_events(served: &Served) -> Vec<Value> {
    let (mut all, mut before) = (Vec::new(), String::new());
    loop {
        let mut page = api(served, &format!("/api/events?limit=500{before}")).await;
        if let Value::Array(events) = page["events"].take() {
            all.extend(events);
        }
        match page["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => return all,
        }
    }
}

/// The resident memory of a server, in MiB.
pub fn memory(served: &Served) -> u64 {
    of_status(served, "VmRSS:")
}

/// The most that it has been since [`forget_peak`], in MiB.
pub fn peak_memory(served: &Served) -> u64 {
    of_status(served, "VmHWM:")
}

pub fn forget_peak(served: &Served) {
    let file = format!("/proc/{}/clear_refs", served.program.id());
    std::fs::write(file, "5").unwrap();
}

fn of_status(served: &Served, name: &str) -> u64 {
    let path = format!("/proc/{}/status", served.program.id());
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib: u64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib / 1024
}

/// How long an answer may take.
pub const HANG: Duration = Duration::from_secs(10);

/// How long requests are sent whose answers are not read.
const UNREAD: Duration = Duration::from_secs(3);
