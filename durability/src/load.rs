//! [`Load`]: sends messages of many conversations over many connections.

use std::cell::RefCell;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use http::Uri;
use serde_json::json;
use tokio::time::sleep;

use crate::client::{Answer, Client};
use crate::ledger::{Ledger, Message};

/// The load of a whole run. All its senders run on one thread, so they share it with `RefCell`.
pub(crate) struct Load {
    secret: String,
    pub(crate) rng: RefCell<Rng>,
    pub(crate) ledger: RefCell<Ledger>,
}

impl Load {
    pub(crate) fn new(seed: u64, secret: &str) -> Self {
        Self {
            secret: secret.to_owned(),
            rng: Rng::with_seed(seed).into(),
            ledger: RefCell::default(),
        }
    }

    /// Sends to the server until it is gone.
    pub(crate) async fn send_all(&self, url: Uri) {
        let client = self.client(url);
        join_all((0..CONNECTIONS).map(|number| self.send(&client, number))).await;
    }

    pub(crate) fn client(&self, url: Uri) -> Client {
        Client::new(url, &self.secret)
    }

    /// One connection: repeatedly sends a message of one of its conversations and waits for its answer.
    async fn send(&self, client: &Client, number: usize) {
        loop {
            let insist = self.rng.borrow_mut().bool();
            let (message, body) = self.next(number, insist);
            let answer = client.post(body).await;
            self.ledger.borrow_mut().answered(message, answer);
            match answer {
                Answer::Missing => return,
                Answer::Refused => sleep(AFTER_REFUSAL).await,
                Answer::Acknowledged | Answer::Duplicate => {}
            }
        }
    }

    /// A message in the gateway's documented form.
    pub(crate) fn next(&self, connection: usize, insist: bool) -> (Message, String) {
        let conversation = connection + CONNECTIONS * self.rng.borrow_mut().usize(..EACH);
        self.of(conversation, insist)
    }

    /// The same message again, which was not acknowledged.
    pub(crate) fn again(&self, message: Message) -> (Message, String) {
        self.of(message.id.0, true)
    }

    fn of(&self, conversation: usize, insist: bool) -> (Message, String) {
        let message = self.ledger.borrow_mut().take(conversation, insist);
        let (conversation, place) = message.id;
        let body = json!({
            "event": "message",
            "sessionId": "verify-durability",
            "messageId": format!("{conversation}-{place}"),
            "from": conversation.to_string(),
            // The same whenever it is sent: another content would be another event.
            "message": "x".repeat(LENGTHS[(conversation + place) % LENGTHS.len()]),
            "type": "text",
            "timestamp": "2026-01-01T00:00:00.000Z",
        });
        (message, body.to_string())
    }
}

/// How many requests are in flight at the same time.
pub(crate) const CONNECTIONS: usize = 32;

/// How many conversations each connection has.
const EACH: usize = 8;

/// The lengths of the texts: most messages share a page of the database, some need several pages.
const LENGTHS: [usize; 8] = [0, 5, 50, 100, 300, 500, 2_000, 10_000];

pub(crate) const AFTER_REFUSAL: Duration = Duration::from_millis(100);
