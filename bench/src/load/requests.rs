//! Messages as the gateway sends them, each of them unique over the whole run.
//!
//! A [`Batch`] is made and signed before the clock starts and lies in one piece of memory, so that
//! sending costs the generator nothing but the system call.

use offhook::Timestamp;
use offhook::clock::{Clock as _, SystemClock};
use offhook::signature::{Scheme as _, Secret, XWebhookSignature};

/// The documentation's key: the Flask and Express receivers have it written in them.
pub(crate) const KEY: &str = "your-secret-key";

/// What a target's requests look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The path they are posted to.
    pub(crate) path: &'static str,
    pub(crate) signing: Signing,
    /// The length of a body in bytes; below about 200 it is as short as a message can be.
    pub(crate) body: usize,
    /// How many conversations the messages belong to, in turn.
    pub(crate) lanes: u64,
    pub(crate) session: &'static str,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            path: "/webhook",
            signing: Signing::Gateway,
            body: 300,
            lanes: 10_000,
            session: "408f7372-f7c9-4299-a8db-326bc5548a73",
        }
    }
}

/// Whose signature header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signing {
    /// `X-Webhook-Signature: hex`
    Gateway,
    /// `X-Hub-Signature-256: sha256=hex`, with the headers that GitHub sends beside it.
    GitHub,
}

/// Makes requests. Numbers go on over all batches, so no two are the same.
pub(crate) struct Requests {
    secret: Secret,
    next: u64,
}

impl Requests {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let secret = Secret::new(KEY)?;
        Ok(Self { secret, next: 0 })
    }

    /// As [`Requests::new`], with numbers that an earlier process has not used.
    pub(crate) fn starting_now() -> anyhow::Result<Self> {
        let now = u64::try_from(SystemClock.now().as_millisecond())?;
        Ok(Self {
            next: now * 1000,
            ..Self::new()?
        })
    }

    /// The next `count` requests; fewer where they would not fit into [`MOST_BYTES`].
    pub(crate) fn take(&mut self, count: u64, shape: &Shape) -> Batch {
        let each = shape.body + HEAD_BYTES;
        let count = count.clamp(1, (MOST_BYTES / each).max(1) as u64);
        let mut batch = Batch {
            bytes: Vec::with_capacity(count as usize * each),
            ends: Vec::with_capacity(count as usize),
        };
        for number in self.next..self.next + count {
            self.write(number, shape, &mut batch.bytes);
            batch.ends.push(batch.bytes.len());
        }
        self.next += count;
        batch
    }

    fn write(&self, number: u64, shape: &Shape, into: &mut Vec<u8>) {
        let body = body(number, shape);
        let signed = XWebhookSignature.sign(body.as_bytes(), &self.secret, Timestamp::UNIX_EPOCH);
        let signature = signed.first().map_or("", |header| header.value.as_str());
        let path = shape.path;
        let length = body.len();
        let head = match shape.signing {
            Signing::Gateway => format!(
                "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: offhook-bench\r\n\
                 Content-Type: application/json\r\nX-Webhook-Signature: {signature}\r\n\
                 Content-Length: {length}\r\n\r\n"
            ),
            Signing::GitHub => format!(
                "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: offhook-bench\r\n\
                 Content-Type: application/json\r\nX-GitHub-Event: push\r\n\
                 X-GitHub-Delivery: {number:032x}\r\nX-Hub-Signature-256: sha256={signature}\r\n\
                 Content-Length: {length}\r\n\r\n"
            ),
        };
        into.extend_from_slice(head.as_bytes());
        into.extend_from_slice(body.as_bytes());
    }
}

/// A text message whose text fills it up to the wanted length.
fn body(number: u64, shape: &Shape) -> String {
    let (from, session) = (number % shape.lanes.max(1), shape.session);
    let start = format!(
        "{{\"event\":\"message\",\"sessionId\":\"{session}\",\
         \"messageId\":\"3EB0{number:016X}\",\"from\":\"+{from:07}\",\"message\":\""
    );
    const END: &str = "\",\"type\":\"text\",\"timestamp\":\"2025-01-08T12:00:00.000Z\"}";
    let room = shape.body.saturating_sub(start.len() + END.len()).max(1);
    let mut text = TEXT.repeat(room / TEXT.len() + 1);
    text.truncate(room);
    let mut body = start;
    body.push_str(&text);
    body.push_str(END);
    body
}

const TEXT: &str = "Hello! ";

/// What the head of a request takes at most.
const HEAD_BYTES: usize = 400;

/// A batch holds no more, however long the bodies are: a run whose batch is used up ends early.
const MOST_BYTES: usize = 2 << 30;

/// Requests to be sent, in one piece of memory.
pub(crate) struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The request with this number, which must be below [`Batch::len`].
    pub(crate) fn request(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[number]]
    }
}

#[cfg(test)]
mod tests {
    use offhook::signature::{Headers, Secret, XWebhookSignature};

    use super::*;

    fn parsed(request: &[u8]) -> (Vec<(String, String)>, Vec<u8>) {
        let text = std::str::from_utf8(request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let headers = head.lines().skip(1).map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        });
        (headers.collect(), body.as_bytes().to_vec())
    }

    #[test]
    fn requests_are_signed_sized_and_different() {
        let mut requests = Requests::new().unwrap();
        let mut seen = std::collections::HashSet::new();
        for (size, lanes) in [(200, 1), (300, 10), (4096, 100_000)] {
            let shape = Shape {
                body: size,
                lanes,
                ..Shape::default()
            };
            let batch = requests.take(20, &shape);
            assert_eq!(batch.len(), 20);
            for number in 0..batch.len() {
                let (headers, body) = parsed(batch.request(number));
                assert_eq!(body.len(), size);
                let pairs: Vec<(&str, &str)> = headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .collect();
                let headers: &dyn Headers = &&pairs[..];
                let claim = XWebhookSignature
                    .claim(headers, Timestamp::UNIX_EPOCH)
                    .unwrap();
                let secret = Secret::new(KEY).unwrap();
                assert!(XWebhookSignature.matches(&claim, &body, &secret));
                assert!(seen.insert(body));
            }
        }
        assert_eq!(seen.len(), 60);
    }

    #[test]
    fn a_body_is_a_message_to_offhook() {
        let shape = Shape {
            lanes: 3,
            ..Shape::default()
        };
        let value: serde_json::Value = serde_json::from_str(&body(7, &shape)).unwrap();
        assert_eq!(value["event"], "message");
        assert_eq!(value["from"], "+0000001");
        assert_eq!(value["messageId"], "3EB00000000000000007");
    }

    #[test]
    fn long_bodies_make_a_batch_shorter() {
        let mut requests = Requests::new().unwrap();
        let shape = Shape {
            body: MOST_BYTES / 4,
            ..Shape::default()
        };
        // Too slow to make here; the bound is what is asked.
        assert_eq!(MOST_BYTES / (shape.body + HEAD_BYTES), 3);
        assert_eq!(requests.take(0, &Shape::default()).len(), 1);
    }
}
