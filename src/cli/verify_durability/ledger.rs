//! [`Ledger`]: what was sent, and how it was answered.

use super::load::CONVERSATIONS;

/// What was sent, and how it was answered. Each conversation has one message in flight at a time.
#[derive(Debug)]
pub(super) struct Ledger {
    conversations: Vec<Conversation>,
    acknowledged: u64,
    refused: u64,
    /// How often a message that was never sent before was answered as a duplicate.
    false_acknowledgements: u64,
}

#[derive(Debug, Clone, Default)]
struct Conversation {
    /// For each message, by its place: whether it was acknowledged.
    messages: Vec<bool>,
    /// The last message was not answered, and has not been given up.
    unanswered: bool,
}

/// A message to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) conversation: usize,
    /// Its place in the conversation, from 0.
    pub(super) place: usize,
    /// Whether it was sent before.
    resent: bool,
}

/// The outcome of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// 200.
    Acknowledged { duplicate: bool },
    /// Anything else.
    Refused,
    /// The connection broke, so the server may or may not have the message.
    Not,
}

impl Message {
    /// Its `messageId`.
    pub(super) fn id(&self) -> String {
        format!("{}-{}", self.conversation, self.place)
    }
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            conversations: vec![Conversation::default(); CONVERSATIONS],
            acknowledged: 0,
            refused: 0,
            false_acknowledgements: 0,
        }
    }

    /// Returns the next message of a conversation. A message without an answer is sent again with the
    /// same id if `insist` is set, and given up otherwise.
    pub(super) fn take(&mut self, conversation: usize, insist: bool) -> Message {
        let talk = &mut self.conversations[conversation];
        let resent = std::mem::take(&mut talk.unanswered) && insist;
        if !resent {
            talk.messages.push(false);
        }
        Message {
            conversation,
            place: talk.messages.len() - 1,
            resent,
        }
    }

    /// Records how the message was answered.
    pub(super) fn answered(&mut self, message: Message, answered: Answered) {
        let talk = &mut self.conversations[message.conversation];
        match answered {
            Answered::Acknowledged { duplicate } => {
                talk.messages[message.place] = true;
                self.acknowledged += 1;
                self.false_acknowledgements += u64::from(duplicate && !message.resent);
            }
            Answered::Refused => {
                talk.unanswered = true;
                self.refused += 1;
            }
            Answered::Not => talk.unanswered = true,
        }
    }

    /// How many messages were sent, each counted once.
    pub(super) fn sent(&self) -> u64 {
        let talks = self.conversations.iter();
        talks.map(|talk| talk.messages.len() as u64).sum()
    }

    /// How many messages were acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    pub(super) fn false_acknowledgements(&self) -> u64 {
        self.false_acknowledgements
    }

    /// Every acknowledged message, by conversation and place.
    pub(super) fn promised(&self) -> impl Iterator<Item = (usize, usize)> {
        let talks = self.conversations.iter().enumerate();
        talks.flat_map(|(conversation, talk)| {
            let messages = talk.messages.iter().enumerate();
            messages.filter_map(move |(place, acknowledged)| {
                acknowledged.then_some((conversation, place))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_answered_is_sent_again_or_given_up() {
        let mut ledger = Ledger::new();
        let first = ledger.take(3, true);
        assert_eq!((first.id().as_str(), first.resent), ("3-0", false));
        ledger.answered(first, Answered::Not);
        let again = ledger.take(3, true);
        assert_eq!((again.id().as_str(), again.resent), ("3-0", true));
        ledger.answered(again, Answered::Refused);
        let next = ledger.take(3, false);
        assert_eq!((next.id().as_str(), next.resent), ("3-1", false));
        let good = Answered::Acknowledged { duplicate: false };
        ledger.answered(next, good);
        assert_eq!(ledger.promised().collect::<Vec<_>>(), [(3, 1)]);
        assert_eq!((ledger.sent(), ledger.acknowledged()), (2, 1));
        assert_eq!(ledger.refused(), 1);
    }

    #[test]
    fn a_duplicate_of_nothing_is_a_false_acknowledgement() {
        let mut ledger = Ledger::new();
        let duplicate = Answered::Acknowledged { duplicate: true };
        let message = ledger.take(0, false);
        ledger.answered(message, Answered::Not);
        let again = ledger.take(0, true);
        ledger.answered(again, duplicate);
        assert_eq!(ledger.false_acknowledgements(), 0);
        let fresh = ledger.take(0, true);
        ledger.answered(fresh, duplicate);
        assert_eq!(ledger.false_acknowledgements(), 1);
    }
}
