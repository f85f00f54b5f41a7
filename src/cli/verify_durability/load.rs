//! [`Load`]: sends messages of many conversations over many connections, until the server is gone.

use std::cell::RefCell;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use offhook::clock::{Clock as _, SystemClock};
use offhook::signature::{Scheme as _, Secret, XWebhookSignature};

use super::super::client::{Client, Signed};
use super::ledger::{Answered, Ledger, Message};

/// The state of the load. All senders run on one thread, so they share it with `RefCell`.
pub(super) struct Load<'a> {
    client: &'a Client,
    ledger: &'a RefCell<Ledger>,
    rng: &'a RefCell<Rng>,
    secret: &'a Secret,
}

impl<'a> Load<'a> {
    pub(super) fn new(
        client: &'a Client,
        ledger: &'a RefCell<Ledger>,
        rng: &'a RefCell<Rng>,
        secret: &'a Secret,
    ) -> Self {
        Self {
            client,
            ledger,
            rng,
            secret,
        }
    }

    /// Sends until the server is gone.
    pub(super) async fn run(self) {
        join_all((0..CONNECTIONS).map(|number| self.send(number))).await;
    }

    /// One connection: repeatedly sends a message of one of its conversations and waits for its answer.
    async fn send(&self, number: usize) {
        loop {
            let signed;
            let message = {
                let mut rng = self.rng.borrow_mut();
                let conversation = number + CONNECTIONS * rng.usize(..EACH);
                let message = self.ledger.borrow_mut().take(conversation, rng.bool());
                signed = sign(&message, LENGTHS[rng.usize(..LENGTHS.len())], self.secret);
                message
            };
            let answered = match self.client.post(signed).await {
                Ok(answer) if answer.status == 200 => Answered::Acknowledged {
                    duplicate: answer.duplicate,
                },
                Ok(_) => Answered::Refused,
                Err(_) => Answered::Not,
            };
            self.ledger.borrow_mut().answered(message, answered);
            match answered {
                Answered::Acknowledged { .. } => {}
                Answered::Refused => tokio::time::sleep(AFTER_REFUSAL).await,
                Answered::Not => return,
            }
        }
    }
}

/// Signs the message in the gateway's documented form.
fn sign(message: &Message, length: usize, secret: &Secret) -> Signed {
    let body = serde_json::json!({
        "event": "message",
        "sessionId": "verify-durability",
        "messageId": message.id(),
        "from": message.conversation.to_string(),
        "message": "x".repeat(length),
        "type": "text",
        "timestamp": format!("{:.3}", SystemClock.now()),
    });
    let body = bytes::Bytes::from(body.to_string());
    let headers = XWebhookSignature.sign(&body, secret, SystemClock.now());
    Signed { body, headers }
}

/// How many requests are in flight at the same time.
pub(super) const CONNECTIONS: usize = 32;

/// How many conversations each connection has.
const EACH: usize = 8;

pub(super) const CONVERSATIONS: usize = CONNECTIONS * EACH;

/// The lengths of the texts: most messages share a page of the database, some need several pages.
const LENGTHS: [usize; 8] = [0, 5, 50, 100, 300, 500, 2_000, 10_000];

const AFTER_REFUSAL: Duration = Duration::from_millis(100);
