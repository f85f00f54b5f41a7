//! [`Seen`]: what was handed over, and in which order. [`Handled`]: that, read from the file of the handler.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use crate::ledger::{Ledger, MessageId};

/// What the handler has received so far.
#[derive(Debug)]
pub(crate) struct Handled {
    file: BufReader<File>,
    /// The beginning of a line whose end is not in the file yet.
    line: Vec<u8>,
    pub(crate) seen: Seen,
}

/// What was handed over, in its order.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Each message with the event id of each time that it was handed over.
    pub(crate) messages: HashMap<MessageId, Vec<Uuid>>,
    /// The newest place of each conversation.
    newest: HashMap<usize, usize>,
    /// How many messages first came after a later message of their conversation.
    pub(crate) out_of_order: usize,
    /// How many lines a kill cut short.
    pub(crate) torn: usize,
    /// When each message first came.
    first: HashMap<MessageId, Instant>,
}

impl Handled {
    /// Opens the file at `path`; nothing is read yet.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: BufReader::new(File::open(path)?),
            line: Vec::new(),
            seen: Seen::default(),
        })
    }

    /// Reads what was added to the file. Returns whether there was a whole line.
    pub(crate) fn read_on(&mut self) -> io::Result<bool> {
        let mut grown = false;
        loop {
            self.file.read_until(b'\n', &mut self.line)?;
            if !self.line.ends_with(b"\n") {
                return Ok(grown);
            }
            grown = true;
            match parse(&self.line) {
                Some((id, event)) => self.seen.saw(id, event),
                None => self.seen.torn += 1,
            }
            self.line.clear();
        }
    }
}

impl Seen {
    /// Takes note of a message that was handed over with this event id.
    pub(crate) fn saw(&mut self, id: MessageId, event: Uuid) {
        let (conversation, place) = id;
        let events = self.messages.entry(id).or_default();
        if events.is_empty() {
            let newest = self.newest.entry(conversation).or_insert(place);
            self.out_of_order += usize::from(place < *newest);
            *newest = place.max(*newest);
            self.first.insert(id, Instant::now());
        }
        events.push(event);
    }

    /// How many acknowledged messages are missing.
    pub(crate) fn missing(&self, ledger: &Ledger) -> usize {
        let is_missing = |id: &&MessageId| !self.messages.contains_key(*id);
        ledger.acknowledged.keys().filter(is_missing).count()
    }

    /// How often messages were handed over.
    pub(crate) fn total(&self) -> usize {
        self.messages.values().map(Vec::len).sum()
    }

    /// The longest time from the acknowledgement of a message until it first came.
    pub(crate) fn longest_wait(&self, ledger: &Ledger) -> Duration {
        let waits = ledger.acknowledged.iter().filter_map(|(id, at)| {
            let came = self.first.get(id)?;
            Some(came.saturating_duration_since(*at))
        });
        waits.max().unwrap_or_default()
    }
}

/// The id of a message, from its body.
pub(crate) fn id_of(body: &Value) -> Option<MessageId> {
    let (conversation, place) = body["messageId"].as_str()?.split_once('-')?;
    Some((conversation.parse().ok()?, place.parse().ok()?))
}

fn parse(line: &[u8]) -> Option<(MessageId, Uuid)> {
    let line: Value = serde_json::from_slice(line).ok()?;
    Some((id_of(&line["body"])?, line["id"].as_str()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::Write as _;

    use super::*;
    use crate::Figures;

    #[test]
    fn what_is_counted() {
        let path = std::env::temp_dir().join(format!("offhook-handled-{}", std::process::id()));
        let mut file = File::create(&path).unwrap();
        let mut handled = Handled::open(&path).unwrap();
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
        file.write_all(text.as_bytes()).unwrap();
        assert!(handled.read_on().unwrap());
        assert!(!handled.read_on().unwrap());
        file.write_all(rest.as_bytes()).unwrap();
        assert!(handled.read_on().unwrap());
        std::fs::remove_file(&path).unwrap();

        let mut ledger = Ledger::default();
        let now = Instant::now();
        ledger.acknowledged.extend([((1, 0), now), ((1, 1), now)]);
        let figures = Figures::compare("sqlite", &ledger, &handled.seen);
        assert_eq!((figures.handled, figures.torn_lines), (5, 1));
        assert_eq!(figures.handed_over_more_than_once, 2);
        assert_eq!((figures.kept_twice, figures.out_of_order), (1, 1));
        assert_eq!(figures.lost, 0);
        ledger.acknowledged.insert((1, 2), now);
        assert_eq!(handled.seen.missing(&ledger), 1);
        assert_eq!(handled.seen.total(), 7);
    }
}
