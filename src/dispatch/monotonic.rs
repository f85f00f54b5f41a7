//! [`Monotonic`]: statuses of a message only go forward.
//!
//! A `sent` or `delivered` that arrives after a `read` of the same message is skipped, as is any status
//! after `failed` or `deleted`, which end a message. Of several waiting statuses only the furthest is delivered. The
//! newest [`REMEMBERED`] statuses are saved with the progress of the consumer.

use std::collections::{BTreeSet, HashMap, VecDeque};

use sha2::{Digest as _, Sha256};

use crate::dialect::cut;
use crate::journal::{Position, PositionHashSet};
use crate::{Event, MessageStatus};

/// Which waiting statuses were overtaken.
#[derive(Debug, Default)]
pub(crate) struct Monotonic {
    /// The event of the furthest status of each message that waits.
    waiting: HashMap<Message, Position>,
    overtaken: PositionHashSet,
}

/// The newest statuses, oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Statuses {
    newest: VecDeque<(Message, Rank)>,
    /// How many came before those in `newest`.
    before: u64,
    /// The furthest status of each message, and how many statuses came before it.
    furthest: HashMap<Message, (Rank, u64)>,
    /// The rows that have changed since the last save.
    changed: BTreeSet<u64>,
}

/// The first bytes of a SHA-256, so that no sender can choose message ids that count as one.
type Message = u64;

/// How far a status is.
type Rank = u8;

impl Monotonic {
    /// Records a new event. Returns whether it is still worth delivering. `waits` says whether an
    /// earlier event is unsettled, because a settled event cannot be overtaken.
    pub(crate) fn comes(
        &mut self,
        statuses: &mut Statuses,
        position: Position,
        source: &str,
        events: &[Event],
        waits: impl FnOnce(Position) -> bool,
    ) -> bool {
        let Some((message, rank)) = status(source, events) else {
            return true;
        };
        let furthest = statuses.furthest.get(&message).map(|(rank, _)| *rank);
        if furthest.is_some_and(|furthest| order(furthest) > order(rank)) {
            return false;
        }
        if furthest != Some(rank) {
            if let Some(newest) = self.waiting.get(&message).copied()
                && rank != ENDED
                && waits(newest)
            {
                self.overtaken.insert(newest);
            }
            statuses.push(message, rank);
        }
        self.waiting.insert(message, position);
        if self.waiting.len() > REMEMBERED {
            // Far fewer wait in memory; the others cannot be overtaken.
            self.waiting.clear();
        }
        true
    }

    /// Forgets an event that starts for the first time or is settled: it cannot be overtaken any more.
    /// Returns whether a later event has overtaken it.
    pub(crate) fn forget(&mut self, position: Position) -> bool {
        self.overtaken.remove(&position)
    }
}

impl Statuses {
    fn push(&mut self, message: Message, rank: Rank) {
        let number = self.before + self.newest.len() as u64;
        self.newest.push_back((message, rank));
        self.furthest.insert(message, (rank, number));
        self.changed.insert(number / ROW as u64);
        if self.newest.len() >= REMEMBERED + ROW {
            self.forget_row();
        }
    }

    /// Forgets the oldest row.
    fn forget_row(&mut self) {
        self.changed.insert(self.before / ROW as u64);
        for (message, _) in self.newest.drain(..ROW) {
            if { self.furthest.get(&message) }.is_some_and(|(_, number)| *number == self.before) {
                self.furthest.remove(&message);
            }
            self.before += 1;
        }
    }

    /// Adds what another share remembers. Of a message that both know, the furthest status counts.
    #[cfg(all(feature = "sqlite", feature = "postgres"))]
    pub(super) fn add(&mut self, other: &Self) {
        for (message, rank) in &other.newest {
            let known = self.furthest.get(message).map(|(rank, _)| *rank);
            if known.is_none_or(|known| known < *rank) {
                self.push(*message, *rank);
            }
        }
    }

    /// The rows that have changed since the last call.
    pub(super) fn take_changed(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.changed)
    }

    /// The bytes of a row: 9 for each status. `None` if it has none.
    pub(super) fn row(&self, number: u64) -> Option<Vec<u8>> {
        let skipped = (number * ROW as u64).checked_sub(self.before)?;
        let skipped = usize::try_from(skipped).ok()?;
        let statuses = self.newest.iter().skip(skipped).take(ROW);
        let bytes = statuses
            .flat_map(|(message, rank)| message.to_le_bytes().into_iter().chain([*rank]))
            .collect::<Vec<u8>>();
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Adds what was saved of a row; rows come in order. `None` if it cannot be read.
    pub(super) fn load(&mut self, number: u64, bytes: &[u8]) -> Option<()> {
        let (statuses, rest) = bytes.as_chunks::<9>();
        if self.newest.is_empty() {
            self.before = number.checked_mul(ROW as u64)?;
        }
        if !rest.is_empty() || statuses.len() > ROW {
            return None;
        }
        for [message @ .., rank] in statuses {
            let place = self.before + self.newest.len() as u64;
            let message = Message::from_le_bytes(*message);
            self.newest.push_back((message, *rank));
            self.furthest.insert(message, (*rank, place));
        }
        Some(())
    }
}

/// The message and the rank of its status; `None` for every other event.
fn status(source: &str, events: &[Event]) -> Option<(Message, Rank)> {
    let [Event::Status(event)] = events else {
        return None;
    };
    let rank = match event.status.as_ref()? {
        MessageStatus::Pending => 0,
        MessageStatus::Sent => 1,
        MessageStatus::Delivered => 2,
        MessageStatus::Read => 3,
        MessageStatus::Played => PLAYED,
        MessageStatus::Failed | MessageStatus::Deleted => ENDED,
        // The rank of an unknown status is not known.
        _ => return None,
    };
    let message_id = cut(event.message_id.as_ref()?);
    // In a group each participant has a status of its own.
    let named = match &event.recipient {
        None => serde_json::to_vec(&(source, &event.session_id, message_id)),
        Some(who) => serde_json::to_vec(&(source, &event.session_id, message_id, cut(who))),
    };
    let named = named.expect("texts");
    let digest = Sha256::digest(named);
    let (message, _) = digest.split_first_chunk().expect("a SHA-256 has 32 bytes");
    Some((Message::from_le_bytes(*message), rank))
}

/// The rank of what ends a message. It overtakes nothing, and no other status comes after it. A file may have
/// it from before there was [`PLAYED`].
const ENDED: Rank = 4;

/// Above the rank of what ends a message, because that one is in files; [`order`] puts it below.
const PLAYED: Rank = 5;

/// Where a rank stands: pending, sent, delivered, read, played, and what ends a message.
fn order(rank: Rank) -> Rank {
    match rank {
        ENDED => PLAYED,
        PLAYED => ENDED,
        other => other,
    }
}

/// How many statuses are remembered, at about 50 bytes each.
const REMEMBERED: usize = 65_536;

/// How many statuses are saved together.
const ROW: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Codeskytz, Dialect as _};

    fn events(message: &str, status: &str) -> Vec<Event> {
        let body = format!(r#"{{"event":"status","messageId":"{message}","status":"{status}"}}"#);
        Codeskytz.events(&body.into())
    }

    #[test]
    fn a_late_status_is_left_out() {
        let (mut monotonic, mut statuses) = (Monotonic::default(), Statuses::default());
        let mut comes = |seq, message, status| {
            let events = events(message, status);
            monotonic.comes(&mut statuses, Position::first(seq), "s", &events, |_| true)
        };
        assert!(comes(1, "a", "sent"));
        assert!(comes(2, "a", "read"));
        assert!(!comes(3, "a", "delivered"));
        assert!(!comes(4, "a", "sent"));
        assert!(comes(5, "a", "read"));
        assert!(comes(6, "b", "sent"));
        assert!(comes(7, "a", "played"));
        assert!(!comes(7, "a", "read"));
        assert!(!comes(7, "a", "pending"));
        assert!(comes(7, "a", "read-self"));
        // A failure ends the message.
        assert!(comes(8, "a", "failed"));
        assert!(!comes(9, "a", "read"));
        assert!(!comes(10, "a", "sent"));
        assert!(comes(11, "a", "failed"));
        assert!(comes(12, "b", "deleted"));
        assert!(!comes(13, "b", "played"));
    }

    #[test]
    fn a_further_status_overtakes_a_waiting_one() {
        let (mut monotonic, mut statuses) = (Monotonic::default(), Statuses::default());
        for (seq, status) in [(1, "sent"), (2, "delivered"), (3, "read"), (4, "read")] {
            let events = events("a", status);
            monotonic.comes(&mut statuses, Position::first(seq), "s", &events, |_| true);
        }
        let overtaken: Vec<_> = (1..=4)
            .map(|seq| monotonic.forget(Position::first(seq)))
            .collect();
        assert_eq!(overtaken, [true, true, false, false]);
        assert!(!monotonic.forget(Position::first(1)));
    }

    /// They are not overtaken either.
    #[test]
    fn settled_statuses_take_no_memory() {
        let (mut monotonic, mut statuses) = (Monotonic::default(), Statuses::default());
        for seq in 0..300 {
            let (message, status) = (seq / 3, ["sent", "delivered", "read"][seq as usize % 3]);
            let events = events(&message.to_string(), status);
            monotonic.comes(&mut statuses, Position::first(seq), "s", &events, |_| false);
            assert!(!monotonic.forget(Position::first(seq)));
            monotonic.forget(Position::first(seq));
        }
        assert_eq!(monotonic.overtaken.len(), 0);
    }

    /// What was saved row by row is the same again, also after old statuses were forgotten.
    #[test]
    fn statuses_survive_a_restart() {
        let mut statuses = Statuses::default();
        let mut rows = std::collections::BTreeMap::new();
        for count in [1, 300, REMEMBERED + 3 * ROW] {
            for number in 0..count as u64 {
                statuses.push(number % 70_000, 1 + (number % 3) as u8);
            }
            for row in statuses.take_changed() {
                match statuses.row(row) {
                    Some(bytes) => drop(rows.insert(row, bytes)),
                    None => drop(rows.remove(&row)),
                }
            }
            let mut again = Statuses::default();
            for (row, bytes) in &rows {
                again.load(*row, bytes).unwrap();
            }
            assert_eq!(again.newest, statuses.newest);
            assert_eq!(again.before, statuses.before);
            assert_eq!(again.furthest, statuses.furthest);
            assert!(statuses.newest.len() < REMEMBERED + ROW);
        }
        assert_eq!(Statuses::default().load(0, b"12345678"), None);
    }
}
