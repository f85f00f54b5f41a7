//! The honest sender, and the administrator: what they ask, and how long they wait for the answers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use offhook::clock::{Clock as _, SystemClock};
use offhook::testing::{TestRequest, TestResponse};
use tokio::net::TcpStream;

use super::bodies::message;
use super::sockets::{HOME, ask, ask_on, connect, with_token};
use crate::served::Served;

/// The sender's sessions. The last has a secret of its own.
pub const SESSIONS: [&str; 3] = ["A", "C", "B"];

/// How the ids of all honest messages begin.
pub const PREFIX: &str = "honest-";

/// Sends small messages one by one: each second one on a connection of its own, the others on connections
/// that are kept.
pub struct Sender {
    kept: Vec<TcpStream>,
    /// The session and the id of each message, and whether it was acknowledged.
    sent: Vec<(&'static str, String, bool)>,
    waits: Waits,
}

impl Sender {
    pub async fn new(served: &Served) -> Self {
        let mut kept = Vec::new();
        for _ in 0..KEPT {
            kept.push(connect(HOME, served.public).await.unwrap());
        }
        Self {
            kept,
            // It was captured, and sent again by others.
            sent: vec![("A", "honest-captured".to_owned(), true)],
            waits: Waits::default(),
        }
    }

    pub async fn run(&mut self, served: &Served, end: Instant) {
        while SystemClock.monotonic() < end {
            let number = self.sent.len();
            let session = SESSIONS[number % SESSIONS.len()];
            let id = format!("{PREFIX}{session}-{number}");
            let request = message(session, &id).bytes();
            let began = SystemClock.monotonic();
            let answer = if number.is_multiple_of(2) {
                ask(HOME, served.public, &request).await
            } else {
                let kept = &mut self.kept[number / 2 % KEPT];
                let answer = ask_on(kept, &request).await;
                if answer.is_err() {
                    // The failure is told; the others go on.
                    *kept = connect(HOME, served.public).await.unwrap();
                }
                answer
            };
            let is_received = self.waits.add(&id, began, answer);
            self.sent.push((session, id, is_received));
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub fn sent(&self) -> impl Iterator<Item = &String> {
        self.sent.iter().map(|(_, id, _)| id)
    }

    pub fn acknowledged(&self) -> impl Iterator<Item = &String> {
        let received = self.sent.iter().filter(|(.., is_received)| *is_received);
        received.map(|(_, id, _)| id)
    }

    pub fn acknowledged_by_session(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (session, _, is_received) in &self.sent {
            *counts.entry((*session).to_owned()).or_default() += usize::from(*is_received);
        }
        counts
    }

    pub fn take_figures(&mut self) -> String {
        self.waits.take_figures()
    }

    pub fn expect_no_failure(&self) {
        self.waits.expect_no_failure();
    }
}

/// Asks for what a person, a dashboard and a supervisor ask for.
#[derive(Default)]
pub struct Administrator {
    waits: Waits,
}

impl Administrator {
    pub async fn run(&mut self, served: &Served, end: Instant) {
        while SystemClock.monotonic() < end {
            let requests = [
                TestRequest::get("/health"),
                TestRequest::get("/ready"),
                with_token("/api/events"),
                with_token("/api/consumers"),
            ];
            for request in requests {
                let began = SystemClock.monotonic();
                let answer = ask(HOME, served.admin, &request.bytes()).await;
                self.waits.add(&request.path, began, answer);
            }
            tokio::time::sleep(10 * PAUSE).await;
        }
    }

    pub fn take_figures(&mut self) -> String {
        self.waits.take_figures()
    }

    pub fn expect_no_failure(&self) {
        self.waits.expect_no_failure();
    }
}

/// How long requests waited, and which were not answered with 200.
#[derive(Default)]
struct Waits {
    began: Option<Instant>,
    all: Vec<Duration>,
    failures: Vec<String>,
}

impl Waits {
    /// Returns whether the answer is 200.
    fn add(&mut self, what: &str, began: Instant, answer: Result<TestResponse, String>) -> bool {
        let waited = SystemClock.monotonic() - began;
        let first = *self.began.get_or_insert(began);
        self.all.push(waited);
        let failure = match answer {
            Ok(answer) if answer.status == 200 => return true,
            Ok(answer) => format!("{} {}", answer.status, answer.text()),
            Err(error) => error,
        };
        let at = began - first;
        self.failures
            .push(format!("{what} at {at:.1?}, after {waited:.1?}: {failure}"));
        false
    }

    fn take_figures(&mut self) -> String {
        let mut all = std::mem::take(&mut self.all);
        all.sort_unstable();
        let at = |share: usize| all[(all.len() - 1) * share / 1000];
        format!(
            "{} requests, p50 {:.1?}, p99 {:.1?}, worst {:.1?}",
            all.len(),
            at(500),
            at(990),
            at(1000)
        )
    }

    fn expect_no_failure(&self) {
        assert!(self.failures.is_empty(), "{:#?}", self.failures);
    }
}

/// How many connections are kept.
const KEPT: usize = 4;

const PAUSE: Duration = Duration::from_millis(10);
