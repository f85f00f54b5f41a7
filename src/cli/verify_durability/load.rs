//! [`Load`]: sends messages of many conversations over many connections, and notes in its [`Ledger`]
//! what was sent and how it was answered.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use offhook::clock::{Clock as _, SystemClock};
use offhook::signature::Secret;

use super::super::client::{Answer, Client, Signed};

/// The load of a whole run. All its senders run on one thread, so they share it with `RefCell`.
pub(super) struct Load {
    secret: Secret,
    pub(super) rng: RefCell<Rng>,
    pub(super) ledger: RefCell<Ledger>,
}

impl Load {
    pub(super) fn new(seed: u64, secret: &Secret) -> Self {
        Self {
            secret: secret.clone(),
            rng: Rng::with_seed(seed).into(),
            ledger: RefCell::default(),
        }
    }

    /// Sends until the server is gone.
    pub(super) async fn send_all(&self, client: &Client) {
        join_all((0..CONNECTIONS).map(|number| self.send(client, number))).await;
    }

    /// One connection: repeatedly sends a message of one of its conversations and waits for its answer.
    async fn send(&self, client: &Client, number: usize) {
        loop {
            let (message, signed) = self.next(number);
            let answer = client.post(signed).await.ok();
            self.ledger.borrow_mut().answered(message, answer.as_ref());
            match answer {
                None => return,
                Some(answer) if answer.status != 200 => tokio::time::sleep(AFTER_REFUSAL).await,
                Some(_) => {}
            }
        }
    }

    /// Signs a message in the gateway's documented form.
    fn next(&self, connection: usize) -> (Message, Signed) {
        let mut rng = self.rng.borrow_mut();
        let conversation = connection + CONNECTIONS * rng.usize(..EACH);
        let message = self.ledger.borrow_mut().take(conversation, rng.bool());
        let (conversation, place) = message.id;
        let body = serde_json::json!({
            "event": "message",
            "sessionId": "verify-durability",
            "messageId": format!("{conversation}-{place}"),
            "from": conversation.to_string(),
            "message": "x".repeat(LENGTHS[rng.usize(..LENGTHS.len())]),
            "type": "text",
            "timestamp": format!("{:.3}", SystemClock.now()),
        });
        (message, Signed::new(body.to_string(), &self.secret))
    }
}

/// What was sent, and how it was answered. Each conversation has one message in flight at a time.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    conversations: HashMap<usize, Conversation>,
    pub(super) acknowledged: HashSet<MessageId>,
    /// How many answers were not 200.
    pub(super) refused: usize,
    /// How often a message that was never sent before was answered as a duplicate.
    pub(super) false_acknowledgements: usize,
}

/// The number of the conversation, and the message's place in it, from 0.
pub(super) type MessageId = (usize, usize);

#[derive(Debug, Default)]
struct Conversation {
    /// How many messages were sent, each counted once.
    sent: usize,
    /// The last message was not answered, and has not been given up.
    unanswered: bool,
}

/// A message to send.
#[derive(Debug, Clone, Copy)]
struct Message {
    id: MessageId,
    /// Whether it was sent before.
    resent: bool,
}

impl Ledger {
    /// Returns the next message of a conversation. A message without an answer is sent again with the
    /// same id if `insist` is set, and given up otherwise.
    fn take(&mut self, conversation: usize, insist: bool) -> Message {
        let talk = self.conversations.entry(conversation).or_default();
        let resent = std::mem::take(&mut talk.unanswered) && insist;
        talk.sent += usize::from(!resent);
        let id = (conversation, talk.sent - 1);
        Message { id, resent }
    }

    /// Notes the answer. Without one, the server may or may not have the message.
    fn answered(&mut self, message: Message, answer: Option<&Answer>) {
        match answer {
            Some(answer) if answer.status == 200 => {
                self.acknowledged.insert(message.id);
                self.false_acknowledgements += usize::from(answer.duplicate && !message.resent);
            }
            other => {
                self.conversations
                    .entry(message.id.0)
                    .or_default()
                    .unanswered = true;
                self.refused += usize::from(other.is_some());
            }
        }
    }

    /// How many messages were sent, each counted once.
    pub(super) fn sent(&self) -> usize {
        self.conversations.values().map(|talk| talk.sent).sum()
    }
}

/// How many requests are in flight at the same time.
pub(super) const CONNECTIONS: usize = 32;

/// How many conversations each connection has.
const EACH: usize = 8;

/// The lengths of the texts: most messages share a page of the database, some need several pages.
const LENGTHS: [usize; 8] = [0, 5, 50, 100, 300, 500, 2_000, 10_000];

const AFTER_REFUSAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, duplicate: bool) -> Answer {
        Answer {
            status,
            duplicate,
            body: String::new(),
            at: SystemClock.monotonic(),
        }
    }

    #[test]
    fn unanswered_messages_are_sent_again_or_given_up() {
        let mut ledger = Ledger::default();
        let first = ledger.take(3, true);
        assert_eq!((first.id, first.resent), ((3, 0), false));
        ledger.answered(first, None);
        let again = ledger.take(3, true);
        assert_eq!((again.id, again.resent), ((3, 0), true));
        ledger.answered(again, Some(&answer(503, false)));
        let next = ledger.take(3, false);
        assert_eq!((next.id, next.resent), ((3, 1), false));
        ledger.answered(next, Some(&answer(200, false)));
        assert_eq!(ledger.acknowledged, HashSet::from([(3, 1)]));
        assert_eq!((ledger.sent(), ledger.refused), (2, 1));
    }

    #[test]
    fn a_duplicate_of_nothing_is_a_false_acknowledgement() {
        let mut ledger = Ledger::default();
        let duplicate = Some(&answer(200, true));
        let message = ledger.take(0, false);
        ledger.answered(message, None);
        let again = ledger.take(0, true);
        ledger.answered(again, duplicate);
        assert_eq!(ledger.false_acknowledgements, 0);
        let fresh = ledger.take(0, true);
        ledger.answered(fresh, duplicate);
        assert_eq!(ledger.false_acknowledgements, 1);
    }
}
