//! [`Ledger`]: what was sent, and how it was answered.

use std::collections::BTreeSet;

use offhook::testing::TestResponse;

use super::id;

/// What became of a message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Stored,
    Duplicate,
    /// 503, or no answer: it may be stored or not.
    Unknown,
}

#[derive(Debug, Default)]
pub struct Ledger {
    /// Each message once.
    pub sent: BTreeSet<String>,
    pub acknowledged: BTreeSet<String>,
    /// How many of each conversation were acknowledged.
    pub of_conversation: Vec<usize>,
    /// Answered as a duplicate when they were sent for the first time.
    pub false_duplicates: Vec<String>,
    /// Acknowledged, sent again, and answered as new.
    pub stored_again: Vec<String>,
    /// Answers that no sender should get.
    pub strange: Vec<String>,
    pub repeats: usize,
    pub unavailable: usize,
    pub unanswered: usize,
}

impl Ledger {
    pub fn new(conversations: usize) -> Self {
        Self {
            of_conversation: vec![0; conversations],
            ..Self::default()
        }
    }

    /// Notes the answer to a message; `None` is no answer.
    pub fn note(
        &mut self,
        conversation: usize,
        number: usize,
        answer: Option<&TestResponse>,
    ) -> Outcome {
        let id = id(conversation, number);
        let is_first = self.sent.insert(id.clone());
        let outcome = self.outcome(answer);
        let was_acknowledged = self.acknowledged.contains(&id);
        self.repeats += usize::from(was_acknowledged);
        match outcome {
            Outcome::Unknown => return outcome,
            Outcome::Duplicate if is_first => self.false_duplicates.push(id.clone()),
            Outcome::Stored if was_acknowledged => self.stored_again.push(id.clone()),
            Outcome::Stored | Outcome::Duplicate => {}
        }
        if self.acknowledged.insert(id) {
            self.of_conversation[conversation] += 1;
        }
        outcome
    }

    fn outcome(&mut self, answer: Option<&TestResponse>) -> Outcome {
        let Some(answer) = answer else {
            self.unanswered += 1;
            return Outcome::Unknown;
        };
        match answer.status {
            200 if answer.header("offhook-duplicate") == Some("true") => Outcome::Duplicate,
            200 => Outcome::Stored,
            503 if answer.header("retry-after").is_some() => {
                self.unavailable += 1;
                Outcome::Unknown
            }
            _ => {
                self.strange.push(format!("{answer:?}"));
                Outcome::Unknown
            }
        }
    }
}
