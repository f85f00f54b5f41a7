//! [`Ledger`]: what was sent, and how it was answered.

use std::collections::HashMap;

use tokio::time::Instant;

use crate::client::Answer;

/// What was sent, and how it was answered. Each conversation has one message in flight at a time.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    conversations: HashMap<usize, Conversation>,
    /// When each message was first acknowledged.
    pub(crate) acknowledged: HashMap<MessageId, Instant>,
    /// How many answers were not 200.
    pub(crate) refused: usize,
    /// How often a message that was never sent before was answered as a duplicate.
    pub(crate) false_acknowledgements: usize,
}

/// The number of the conversation, and the message's place in it, from 0.
pub(crate) type MessageId = (usize, usize);

#[derive(Debug, Default)]
struct Conversation {
    /// How many messages were sent, each counted once.
    sent: usize,
    /// The last message was not acknowledged, and has not been given up.
    unanswered: bool,
}

/// A message to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    pub(crate) id: MessageId,
    /// Whether it was sent before.
    resent: bool,
}

impl Ledger {
    /// Returns the next message of a conversation. A message that was not acknowledged is sent again with
    /// the same id if `insist` is set, and given up otherwise.
    pub(crate) fn take(&mut self, conversation: usize, insist: bool) -> Message {
        let talk = self.conversations.entry(conversation).or_default();
        let resent = std::mem::take(&mut talk.unanswered) && insist;
        talk.sent += usize::from(!resent);
        let id = (conversation, talk.sent - 1);
        Message { id, resent }
    }

    /// Notes the answer.
    pub(crate) fn answered(&mut self, message: Message, answer: Answer) {
        let is_false = answer == Answer::Duplicate && !message.resent;
        self.false_acknowledgements += usize::from(is_false);
        self.refused += usize::from(answer == Answer::Refused);
        if matches!(answer, Answer::Acknowledged | Answer::Duplicate) {
            self.acknowledged
                .entry(message.id)
                .or_insert_with(Instant::now);
        } else {
            let talk = self.conversations.entry(message.id.0).or_default();
            talk.unanswered = true;
        }
    }

    /// How many messages were sent, each counted once.
    pub(crate) fn sent(&self) -> usize {
        self.conversations.values().map(|talk| talk.sent).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unanswered_messages_are_sent_again_or_given_up() {
        let mut ledger = Ledger::default();
        let first = ledger.take(3, true);
        assert_eq!((first.id, first.resent), ((3, 0), false));
        ledger.answered(first, Answer::Missing);
        let again = ledger.take(3, true);
        assert_eq!((again.id, again.resent), ((3, 0), true));
        ledger.answered(again, Answer::Refused);
        let next = ledger.take(3, false);
        assert_eq!((next.id, next.resent), ((3, 1), false));
        ledger.answered(next, Answer::Acknowledged);
        assert_eq!(ledger.acknowledged.keys().collect::<Vec<_>>(), [&(3, 1)]);
        assert_eq!((ledger.sent(), ledger.refused), (2, 1));
    }

    #[test]
    fn a_duplicate_of_nothing_is_a_false_acknowledgement() {
        let mut ledger = Ledger::default();
        let message = ledger.take(0, false);
        ledger.answered(message, Answer::Missing);
        let again = ledger.take(0, true);
        ledger.answered(again, Answer::Duplicate);
        assert_eq!(ledger.false_acknowledgements, 0);
        let fresh = ledger.take(0, true);
        ledger.answered(fresh, Answer::Duplicate);
        assert_eq!(ledger.false_acknowledgements, 1);
    }
}
