//! [`Crm`]: a subscriber that works, fails or hangs for each session. It has a thread of its own, so that
//! the test does not delay it, and remembers so little that it can be asked a million times.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use offhook::clock::{Clock as _, SystemClock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

/// Answers until it is dropped.
pub struct Crm {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    runtime: Option<Runtime>,
}

/// How the subscriber treats the events of a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Works,
    /// Answers 500.
    Fails,
    /// Does not answer. When the mood changes the connections end without an answer.
    Hangs,
}

/// What the subscriber remembers of a session.
#[derive(Debug, Default)]
pub struct Seen {
    mood: Mood,
    changed: Arc<Notify>,
    /// The numbers of the events it has accepted, in the order in which it did so first.
    pub first: Vec<usize>,
    /// When it did.
    at: HashMap<usize, Instant>,
    /// How often it was asked for one that it had accepted before.
    pub twice: usize,
    /// How many requests hang.
    pub hanging: usize,
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<String, Seen>,
    /// How long it takes to accept an event.
    takes: Duration,
}

impl Crm {
    pub fn start() -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let serving = Arc::clone(&state);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let serving = Arc::clone(&serving);
                // An error is the other side's end of the connection.
                tokio::spawn(async move { serve(&serving, stream).await.ok() });
            }
        });
        Self {
            address,
            state,
            runtime: Some(runtime),
        }
    }

    /// Settings that subscribe it to everything.
    pub fn subscription(&self) -> String {
        let url = format!("http://{}/hook", self.address);
        format!(
            "[[subscriptions]]\nname = \"crm\"\nsession = \"*\"\nwebhook_url = \"{url}\"\n\
             events = [\"message\"]\n"
        )
    }

    pub fn set(&self, session: &str, mood: Mood) {
        self.change(session, |seen| {
            seen.mood = mood;
            seen.changed.notify_waiters();
        });
    }

    /// Sets how long it takes to accept an event.
    pub fn takes(&self, time: Duration) {
        self.lock().takes = time;
    }

    /// Looks at a session.
    pub fn of<T>(&self, session: &str, look: impl FnOnce(&Seen) -> T) -> T {
        self.change(session, |seen| look(seen))
    }

    /// How many events of the session it has accepted.
    pub fn accepted(&self, session: &str) -> usize {
        self.of(session, |seen| seen.first.len())
    }

    /// When it accepted an event.
    pub fn accepted_at(&self, session: &str, number: usize) -> Option<Instant> {
        self.of(session, |seen| seen.at.get(&number).copied())
    }

    fn change<T>(&self, session: &str, change: impl FnOnce(&mut Seen) -> T) -> T {
        change(self.lock().session(session))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Crm {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl State {
    fn session(&mut self, name: &str) -> &mut Seen {
        if !self.sessions.contains_key(name) {
            self.sessions.insert(name.to_owned(), Seen::default());
        }
        self.sessions.get_mut(name).unwrap()
    }
}

async fn serve(state: &Mutex<State>, mut stream: TcpStream) -> std::io::Result<()> {
    let mut received = Vec::new();
    loop {
        let body = next_body(&mut stream, &mut received).await?;
        let (session, number) = id_in(&body).unwrap_or_else(|| panic!("no id: {body}"));
        let (mood, changed, takes) = {
            let mut state = state.lock().unwrap();
            let seen = state.session(session);
            seen.hanging += usize::from(seen.mood == Mood::Hangs);
            let changed = Arc::clone(&seen.changed).notified_owned();
            (seen.mood, changed, state.takes)
        };
        match mood {
            Mood::Works => {
                if !takes.is_zero() {
                    tokio::time::sleep(takes).await;
                }
                let mut state = state.lock().unwrap();
                let seen = state.session(session);
                match seen.at.insert(number, SystemClock.monotonic()) {
                    None => seen.first.push(number),
                    Some(_) => seen.twice += 1,
                }
            }
            Mood::Fails => {}
            Mood::Hangs => {
                tokio::select! {
                    () = changed => {}
                    // The other side has had enough.
                    _ = stream.read_u8() => {}
                }
                state.lock().unwrap().session(session).hanging -= 1;
                return Ok(());
            }
        }
        let status = if mood == Mood::Works { 200 } else { 500 };
        let answer = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// The body of the next request; what follows it stays in `received`.
async fn next_body(stream: &mut TcpStream, received: &mut Vec<u8>) -> std::io::Result<String> {
    loop {
        if let Some(at) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&received[..at]).to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            let (begin, end) = (at + 4, at + 4 + length);
            if received.len() >= end {
                let body = String::from_utf8_lossy(&received[begin..end]).into_owned();
                received.drain(..end);
                return Ok(body);
            }
        }
        if stream.read_buf(received).await? == 0 {
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
    }
}

/// The session and the number of an event: they are in its message id.
fn id_in(body: &str) -> Option<(&str, usize)> {
    let id = body.split("\"messageId\":\"").nth(1)?.split('"').next()?;
    split(id)
}

/// The session and the number that a message id is made of.
pub fn split(id: &str) -> Option<(&str, usize)> {
    let (session, number) = id.rsplit_once('-')?;
    Some((session, number.parse().ok()?))
}
