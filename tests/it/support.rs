//! What several tests need: the documented events, a raw connection, a program with its output.

use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use offhook::clock::{Clock as _, SystemClock};
use offhook::settings::JournalSettings;
use offhook::signature::Secret;
use offhook::testing::{Recorder, TestRequest, TestResponse};
use offhook::{Offhook, Server, Source, testing};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::openapi::answers::judge_all;

pub const KEY: &str = "your-secret-key";

/// The three events of the gateway's documentation.
pub const DOCUMENTED: [&str; 3] = [
    r#"{"event":"message","sessionId":"408f7372-f7c9-4299-a8db-326bc5548a73","messageId":"3EB0C767D0F2B64C7C5B","from":"+1234567890","message":"Hello!","type":"text","timestamp":"2025-01-08T12:00:00.000Z"}"#,
    r#"{"event":"status","sessionId":"408f7372-f7c9-4299-a8db-326bc5548a73","messageId":"3EB0C767D0F2B64C7C5B","status":"read","timestamp":"2025-01-08T12:00:00.000Z"}"#,
    r#"{"event":"connection","sessionId":"408f7372-f7c9-4299-a8db-326bc5548a73","status":"connected","timestamp":"2025-01-08T12:00:00.000Z"}"#,
];

/// What both of the documentation's receivers print for them.
pub const PRINTED: [&str; 3] = [
    "New message from +1234567890: Hello!",
    "Message 3EB0C767D0F2B64C7C5B status: read",
    "Connection status: connected",
];

/// A secret. Almost every test makes one, or starts a [`Program`], before it sends anything: from then on each answer
/// of an admin listener is held to `openapi.json`.
pub fn secret(text: &str) -> Secret {
    judge_all();
    Secret::new(text).unwrap()
}

/// A source with the documentation's key.
pub fn source() -> Source {
    Source::new("codeskytz").secret(secret(KEY))
}

/// A server with that source and a handler that remembers.
pub async fn recording(change: impl FnOnce(Offhook) -> Offhook) -> (Server, Recorder) {
    let recorder = Recorder::default();
    let offhook = Offhook::builder()
        .source(source())
        .handler("recorder", recorder.clone())
        .without_admin();
    (testing::start(change(offhook)).await, recorder)
}

pub fn signed(body: impl Into<Vec<u8>>) -> TestRequest {
    TestRequest::signed(body, &secret(KEY))
}

/// A connection that sends exactly what it is told.
pub struct Raw(TcpStream);

impl Raw {
    pub async fn connect(to: SocketAddr) -> Self {
        Self(TcpStream::connect(to).await.unwrap())
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The next answer.
    pub async fn answer(&mut self) -> TestResponse {
        bounded(read_answer(&mut self.0)).await.unwrap()
    }

    /// Whether an answer begins to come within this time. Reads none of it.
    pub async fn is_answered_within(&mut self, time: Duration) -> bool {
        let mut first = [0];
        let begun = tokio::time::timeout(time, self.0.peek(&mut first));
        begun.await.is_ok()
    }

    /// The next answer, which must say this.
    pub async fn expect(&mut self, status: u16, body: &str) -> TestResponse {
        let answer = self.answer().await;
        assert_eq!((answer.status, answer.text().as_str()), (status, body));
        answer
    }

    /// That the other side closes the connection without another word.
    pub async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = bounded(self.0.read_to_end(&mut rest)).await;
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    /// Whether the other side still takes something.
    pub async fn tried_to_send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok()
    }

    /// What the other side sends until it closes the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = bounded(self.0.read_to_end(&mut rest)).await;
        rest
    }

    /// Hangs up with a reset.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.0);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Sends what there is no answer to wait for, such as the rest of a refused body.
    pub async fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
    }
}

/// Reads one answer with a `Content-Length`. What follows it stays in the stream.
pub async fn read_answer(stream: &mut TcpStream) -> io::Result<TestResponse> {
    let head = String::from_utf8_lossy(&read_head(stream).await?).into_owned();
    let odd = || io::Error::other(format!("no HTTP answer: {head}"));
    let mut lines = head.trim_end().lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let mut answer = http::Response::builder().status(status.ok_or_else(odd)?);
    let mut length = 0;
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or_else(odd)?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().map_err(|_| odd())?;
        }
        answer = answer.header(name, value);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(answer.body(body).map_err(io::Error::other)?.into())
}

/// Reads as far as the blank line. What is behind it stays where it is.
async fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let (before, length) = (head.len(), stream.peek(&mut piece).await?);
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&piece[..length]);
        let end = head.windows(4).position(|four| four == b"\r\n\r\n");
        head.truncate(end.map_or(head.len(), |end| end + 4));
        stream.read_exact(&mut head[before..]).await?;
        if end.is_some() {
            return Ok(head);
        }
    }
}

/// No event is a duplicate.
pub fn without_duplicates(offhook: Offhook) -> Offhook {
    offhook.configure(|settings| {
        if let JournalSettings::Sqlite(sqlite) = &mut settings.journal {
            sqlite.dedup_window = Duration::ZERO;
            sqlite.dedup_window_unkeyed = Duration::ZERO;
        }
    })
}

/// Waits, but not forever.
pub async fn bounded<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work)
        .await
        .expect("done within a minute")
}

/// Waits until `/metrics` has this line.
pub async fn until_metric(server: &Server, line: &str) {
    let admin = server.admin_address().unwrap();
    let shown = async || TestRequest::get("/metrics").send(admin).await.text();
    bounded(async { while !shown().await.lines().any(|found| found == line) {} }).await;
}

/// Asks an admin listener. The answer is `Null` where it is no JSON.
pub async fn ask(
    admin: SocketAddr,
    method: &str,
    path: &str,
    body: impl Into<Vec<u8>>,
) -> (u16, Value) {
    let mut request = TestRequest::post(body).path(path);
    request.method = method.to_owned();
    let answer = request.send(admin).await;
    let json = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    (answer.status, json)
}

/// A program under test: what it prints and what it logs, line by line; ended with its owner.
pub struct Program {
    child: Child,
    printed: mpsc::Receiver<String>,
    logged: mpsc::Receiver<String>,
}

impl Program {
    /// Starts it with the default log level.
    pub fn start(command: &mut Command) -> Self {
        judge_all();
        let command = command.env_remove("RUST_LOG").stdin(Stdio::null());
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let printed = lines(child.stdout.take().unwrap());
        let logged = lines(child.stderr.take().unwrap());
        Self {
            child,
            printed,
            logged,
        }
    }

    /// The next line on standard output.
    pub fn line(&self) -> String {
        next(&self.printed)
    }

    /// The next line on standard error that holds `text`.
    pub fn logged(&self, text: &str) -> String {
        loop {
            let line = next(&self.logged);
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The next line on standard error that holds `text`; or all of it where it ends without one.
    pub fn try_logged(&self, text: &str) -> Result<String, String> {
        let mut all = String::new();
        loop {
            match self.logged.recv_timeout(Duration::from_secs(60)) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(line) => all = all + &line + "\n",
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(all),
                Err(error) => panic!("{error}: {all}"),
            }
        }
    }

    /// What is left on standard error when the program has ended.
    pub fn all_logged(&self) -> String {
        let lines: Vec<String> = self.logged.iter().collect();
        lines.join("\n")
    }

    /// Waits until it has ended by itself, for at most a minute.
    #[expect(clippy::disallowed_methods, reason = "the test has nothing else to do")]
    pub fn wait(mut self) -> std::process::ExitStatus {
        let started = SystemClock.monotonic();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            let waited = SystemClock.monotonic() - started;
            assert!(waited < Duration::from_secs(60), "it has not ended");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks the program to end, and returns the printed lines it had not been asked for.
    pub fn stop(mut self) -> Vec<String> {
        self.signal("TERM");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
        self.printed.iter().collect()
    }

    /// Kills the program, and returns what it said on standard error that nobody had asked for.
    pub fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.all_logged()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(killed.unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(pipe: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            // Nobody listens any more: read on, so that the program is not held up.
            let _ = sender.send(line);
        }
    });
    lines
}

fn next(lines: &mpsc::Receiver<String>) -> String {
    lines
        .recv_timeout(Duration::from_secs(60))
        .expect("a line within a minute")
}

/// The address after `http://` in a line.
pub fn address_in(line: &str) -> SocketAddr {
    let after = line.split("http://").nth(1).unwrap_or(line);
    let end = after.find(['/', ' ']).unwrap_or(after.len());
    after[..end]
        .parse()
        .unwrap_or_else(|_| panic!("no address in {line:?}"))
}

/// The `offhook` program, in an environment that holds nothing of ours.
pub fn offhook(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OFFHOOK_") {
            command.env_remove(name);
        }
    }
    command
}

/// What came of a run.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    /// Standard output.
    pub printed: String,
    /// Standard error.
    pub said: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap(),
            printed: String::from_utf8(output.stdout).unwrap(),
            said: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// What was printed.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.printed).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub fn run(arguments: &[&str]) -> Ran {
    offhook(arguments).output().unwrap().into()
}

/// An example that was built with the tests.
pub fn example(name: &str) -> Command {
    let mut path = std::env::current_exe().unwrap();
    path.pop(); // the test binary
    path.pop(); // deps
    Command::new(path.join("examples").join(name))
}

/// Where `./test` has put what others wrote: Flask, Express, libraries, programs. `None` where it was
/// not run; then nothing is compared, which is said.
pub fn peers() -> Option<std::path::PathBuf> {
    let peers = std::env::var_os("OFFHOOK_TEST_PEERS").map(std::path::PathBuf::from);
    if peers.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI runs ./test, which sets OFFHOOK_TEST_PEERS"
        );
        eprintln!("OFFHOOK_TEST_PEERS is not set, so nothing was compared: run ./test");
    }
    peers
}

/// A folder of this test's own, removed with it.
pub struct Folder(pub std::path::PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("offhook-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
