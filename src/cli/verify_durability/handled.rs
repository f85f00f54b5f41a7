//! [`Handled`]: what the handler received, read from its file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use uuid::Uuid;

use super::super::output::Failure;
use super::ledger::Ledger;
use super::load::CONVERSATIONS;

/// What the handler has received so far.
#[derive(Debug)]
pub(super) struct Handled {
    path: PathBuf,
    /// How much of the file has been read; always up to the beginning of a line.
    read: u64,
    conversations: Vec<Conversation>,
    /// Lines that a kill cut short.
    torn: u64,
}

#[derive(Debug, Clone, Default)]
struct Conversation {
    messages: BTreeMap<usize, Seen>,
    out_of_order: u64,
}

/// How often a message was handed over, and with which event id.
#[derive(Debug, Clone)]
struct Seen {
    event: Uuid,
    times: u64,
    /// It also came with another event id, so it was stored twice.
    twice: bool,
}

#[derive(Deserialize)]
struct Line {
    id: String,
    body: Body,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    message_id: String,
}

impl Handled {
    /// For the file at `path`; nothing is read yet.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            read: 0,
            conversations: vec![Conversation::default(); CONVERSATIONS],
            torn: 0,
        }
    }

    /// Reads what was added to the file. Returns whether there was anything.
    pub(super) fn read_on(&mut self) -> Result<bool, Failure> {
        let path = self.path.clone();
        let failed = |error| Failure::failed(format!("{}: {error}", path.display()));
        let mut file = match File::open(&self.path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        file.seek(SeekFrom::Start(self.read)).map_err(failed)?;
        let before = self.read;
        let mut line = Vec::new();
        while file.read_until(b'\n', &mut line).map_err(failed)? > 0 && line.ends_with(b"\n") {
            self.read += line.len() as u64;
            match parse(&line) {
                Some((conversation, place, event)) => self.saw(conversation, place, event),
                None => self.torn += 1,
            }
            line.clear();
        }
        Ok(self.read > before)
    }

    fn saw(&mut self, conversation: usize, place: usize, event: Uuid) {
        let talk = &mut self.conversations[conversation];
        if let Some(seen) = talk.messages.get_mut(&place) {
            seen.times += 1;
            seen.twice |= seen.event != event;
            return;
        }
        let last = talk.messages.last_key_value().map(|(last, _)| *last);
        talk.out_of_order += u64::from(last > Some(place));
        let seen = Seen {
            event,
            times: 1,
            twice: false,
        };
        talk.messages.insert(place, seen);
    }

    /// Whether everything that was acknowledged is there.
    pub(super) fn has_all_of(&self, ledger: &Ledger) -> bool {
        self.missing(ledger) == 0
    }

    /// How many acknowledged messages are missing.
    pub(super) fn missing(&self, ledger: &Ledger) -> u64 {
        let promised = ledger.promised();
        let missing = promised.filter(|(conversation, place)| {
            !self.conversations[*conversation]
                .messages
                .contains_key(place)
        });
        missing.count() as u64
    }

    /// How many messages have arrived.
    pub(super) fn messages(&self) -> u64 {
        self.seen().count() as u64
    }

    /// How many messages were handed over more than once.
    pub(super) fn repeated(&self) -> u64 {
        self.seen().filter(|seen| seen.times > 1).count() as u64
    }

    /// How many messages were stored as two events.
    pub(super) fn kept_twice(&self) -> u64 {
        self.seen().filter(|seen| seen.twice).count() as u64
    }

    /// How many messages first came after a later message of their conversation.
    pub(super) fn out_of_order(&self) -> u64 {
        let talks = self.conversations.iter();
        talks.map(|talk| talk.out_of_order).sum()
    }

    /// How many lines a kill cut short.
    pub(super) fn torn(&self) -> u64 {
        self.torn
    }

    fn seen(&self) -> impl Iterator<Item = &Seen> {
        let talks = self.conversations.iter();
        talks.flat_map(|talk| talk.messages.values())
    }
}

/// The conversation, the place in it, and the event's id.
fn parse(line: &[u8]) -> Option<(usize, usize, Uuid)> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let (conversation, place) = line.body.message_id.split_once('-')?;
    let conversation = conversation.parse().ok()?;
    (conversation < CONVERSATIONS).then_some(())?;
    Some((conversation, place.parse().ok()?, line.id.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::Write as _;

    use super::super::ledger::Answered;
    use super::*;

    #[test]
    fn what_is_counted() {
        let path = std::env::temp_dir().join(format!("offhook-handled-{}", std::process::id()));
        let mut handled = Handled::new(&path);
        assert!(!handled.read_on().unwrap());
        let line = |message: &str, event: u128| {
            let id = Uuid::from_u128(event);
            format!("{{\"id\":\"{id}\",\"body\":{{\"messageId\":\"{message}\"}}}}\n")
        };
        let mut text = String::new();
        for (message, event) in [("0-0", 1), ("0-2", 2), ("0-1", 3), ("0-2", 2), ("1-0", 4)] {
            text += &line(message, event);
        }
        let _ = write!(text, "{{\"id\":\n{}", line("1-0", 5));
        let whole = line("1-1", 6);
        let (begun, rest) = whole.split_at(10);
        text += begun;
        std::fs::write(&path, text).unwrap();
        assert!(handled.read_on().unwrap());
        assert!(!handled.read_on().unwrap());
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap();
        file.write_all(rest.as_bytes()).unwrap();
        assert!(handled.read_on().unwrap());
        std::fs::remove_file(&path).unwrap();

        assert_eq!((handled.messages(), handled.repeated()), (5, 2));
        assert_eq!((handled.kept_twice(), handled.out_of_order()), (1, 1));
        assert_eq!(handled.torn(), 1);
        let mut ledger = Ledger::new();
        let good = Answered::Acknowledged { duplicate: false };
        for conversation in [1, 1] {
            let message = ledger.take(conversation, true);
            ledger.answered(message, good);
        }
        assert!(handled.has_all_of(&ledger));
        let lost = ledger.take(1, true);
        ledger.answered(lost, good);
        assert_eq!(handled.missing(&ledger), 1);
    }
}
