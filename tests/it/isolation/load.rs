//! What is sent, and what is seen of a server process from outside.

use std::ops::Range;
use std::time::Duration;

use futures_util::future::join_all;
use offhook::clock::{Clock as _, SystemClock};
use offhook::testing::{TestEvent, TestRequest};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::crm::Crm;
use crate::served::Served;
use crate::support::{Folder, KEY, Raw, bounded, secret};

/// A number of an environment variable, or the one for CI.
pub fn number(variable: &str, in_ci: usize) -> usize {
    let text = std::env::var(variable).ok();
    text.map_or(in_ci, |text| text.replace('_', "").parse().unwrap())
}

/// Event `number` of a session, a message of conversation `from`.
fn message(session: &str, from: usize, number: usize) -> TestRequest {
    TestEvent::message(&from.to_string(), "Hello!")
        .session(session)
        .id(&format!("{session}-{number}"))
        .sign(&secret(KEY))
}

/// Sends events of a session in so many conversations, over many connections, several requests at a time.
pub async fn feed(served: &Served, session: &str, numbers: Range<usize>, conversations: usize) {
    let senders = (0..SENDERS).map(|sender| {
        let numbers: Vec<_> = numbers.clone().skip(sender).step_by(SENDERS).collect();
        async move {
            let mut stream = TcpStream::connect(served.public).await.unwrap();
            for numbers in numbers.chunks(PIPELINED) {
                let requests = numbers.iter().map(|number| {
                    let from = number % conversations;
                    message(session, from, *number).bytes()
                });
                let requests = requests.collect::<Vec<_>>().concat();
                stream.write_all(&requests).await.unwrap();
                bounded(accepted(&mut stream, numbers.len())).await;
            }
        }
    });
    join_all(senders).await;
}

/// Reads so many answers, which all must be 200.
async fn accepted(stream: &mut TcpStream, count: usize) {
    let mut answers = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answers);
        let heads = text.matches("HTTP/1.1 ").count();
        // The last head may be cut.
        assert!(text.matches("HTTP/1.1 200").count() + 1 >= heads, "{text}");
        assert!(!text.contains("HTTP/1.1 503"), "{text}");
        if text.matches(r#"{"status":"received"}"#).count() == count {
            return;
        }
        assert!(stream.read_buf(&mut answers).await.unwrap() > 0, "it ends");
    }
}

/// Events of sessions that work, one every few milliseconds, and how long they took.
#[derive(Debug, Default)]
pub struct Others {
    sent: usize,
}

impl Others {
    /// Sends some. All of them must be handled; prints how long that took, from the request and from its 200.
    pub async fn go_on(&mut self, when: &str, served: &Served, crm: &Crm) {
        let mut connection = Raw::connect(served.public).await;
        let mut acknowledged = Vec::new();
        let end = self.sent + number("OFFHOOK_ISOLATION_OTHERS", 100);
        for number in self.sent..end {
            let session = &OTHERS[number % OTHERS.len()];
            let message = message(session, number % 12, number);
            let asked = SystemClock.monotonic();
            connection.send(message.bytes()).await;
            assert_eq!(connection.answer().await.status, 200);
            acknowledged.push((session, number, [asked, SystemClock.monotonic()]));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.sent = end;
        let mut delays = [Vec::new(), Vec::new()];
        for (session, number, since) in acknowledged {
            let handled = async {
                loop {
                    match crm.accepted_at(session, number) {
                        Some(at) => return at,
                        None => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
            };
            let at = bounded(handled).await;
            let each = delays.iter_mut().zip(since);
            each.for_each(|(delays, since)| delays.push(at.saturating_duration_since(since)));
        }
        let [asked, acknowledged] = delays.map(figures);
        println!("others {when}: {asked} from the request, {acknowledged} from its 200");
    }

    /// That none was handled twice.
    pub fn none_twice(&self, crm: &Crm) {
        for session in OTHERS {
            assert_eq!(crm.of(session, |seen| seen.twice), 0, "{session}");
        }
    }
}

fn figures(mut delays: Vec<Duration>) -> String {
    delays.sort_unstable();
    let (median, worst) = (delays[delays.len() / 2], delays[delays.len() - 1]);
    format!("median {median:.1?}, worst {worst:.1?}")
}

/// Waits until it has come so far. Fails when it has not come further for too long.
pub async fn until_at_least(what: &str, target: usize, mut now: impl AsyncFnMut() -> usize) {
    let (mut furthest, mut since) = (0, SystemClock.monotonic());
    loop {
        let now = now().await;
        if now >= target {
            return;
        }
        if now > furthest {
            (furthest, since) = (now, SystemClock.monotonic());
        }
        let stalled = SystemClock.monotonic() - since;
        assert!(stalled < STALLED, "{what}: {now} of {target}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The only consumer of a server, as its API shows it.
pub async fn consumer(served: &Served) -> Value {
    let answer = TestRequest::get("/api/consumers").send(served.admin).await;
    let mut answer: Value = serde_json::from_slice(&answer.body).unwrap();
    answer["consumers"][0].take()
}

/// A number that the API shows of the consumer.
pub async fn shown(served: &Served, field: &str) -> usize {
    let shown = consumer(served).await;
    let number = shown[field].as_u64();
    usize::try_from(number.unwrap_or_else(|| panic!("no {field}: {shown}"))).unwrap()
}

/// The resident memory of a server, in KiB.
pub fn memory(served: &Served) -> u64 {
    of_process(served, "status", "VmRSS:")
}

/// How many bytes a server has sent towards the disk.
pub fn written(served: &Served) -> u64 {
    of_process(served, "io", "write_bytes:")
}

fn of_process(served: &Served, file: &str, name: &str) -> u64 {
    let path = format!("/proc/{}/{file}", served.program.id());
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

/// The size of the largest WAL in the journal's folder.
pub fn wal(folder: &Folder) -> u64 {
    let files = std::fs::read_dir(folder.0.join("journal")).unwrap();
    let files = files.map(|file| file.unwrap());
    let wals = files.filter(|file| file.file_name().to_string_lossy().ends_with("-wal"));
    wals.filter_map(|file| file.metadata().ok())
        .map(|file| file.len())
        .max()
        .unwrap_or(0)
}

const SENDERS: usize = 64;

/// How many requests a connection has under way.
const PIPELINED: usize = 16;

const OTHERS: [&str; 4] = ["other0", "other1", "other2", "other3"];

/// Ten times the longest pause between two retries.
const STALLED: Duration = Duration::from_secs(300);
