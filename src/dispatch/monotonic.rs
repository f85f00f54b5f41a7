//! [`Monotonic`]: statuses of a message only go forward.
//!
//! A `sent` or `delivered` that arrives after a `read` of the same message is skipped, and of several
//! waiting statuses only the furthest is delivered. Past deliveries are remembered for the newest
//! [`REMEMBERED`] messages, and only within the process.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::journal::{Position, PositionHashSet};
use crate::{Event, MessageStatus};

/// The furthest status of each message.
#[derive(Debug, Default)]
pub(crate) struct Monotonic {
    furthest: HashMap<u64, (Rank, Position)>,
    order: VecDeque<u64>,
    overtaken: PositionHashSet,
}

/// The rank of a status.
type Rank = u8;

impl Monotonic {
    /// Records a new event. Returns whether it is still worth delivering. `waits` says whether an
    /// earlier event is unsettled, because a settled event cannot be overtaken.
    pub(crate) fn comes(
        &mut self,
        position: Position,
        source: &str,
        events: &[Event],
        waits: impl FnOnce(Position) -> bool,
    ) -> bool {
        let Some((message, rank)) = status(source, events) else {
            return true;
        };
        match self.furthest.get(&message) {
            Some((furthest, _)) if *furthest > rank => return false,
            Some((furthest, newest)) => {
                if *furthest < rank && waits(*newest) {
                    self.overtaken.insert(*newest);
                }
            }
            None => self.order.push_back(message),
        }
        self.furthest.insert(message, (rank, position));
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.furthest.remove(&oldest);
        }
        true
    }

    /// Forgets an event that starts for the first time or is settled: it cannot be overtaken any more.
    /// Returns whether a later event has overtaken it.
    pub(crate) fn forget(&mut self, position: Position) -> bool {
        self.overtaken.remove(&position)
    }
}

/// The message and the rank of its status; `None` for every other event.
fn status(source: &str, events: &[Event]) -> Option<(u64, Rank)> {
    let [Event::Status(event)] = events else {
        return None;
    };
    let rank = match event.status.as_ref()? {
        MessageStatus::Sent => 1,
        MessageStatus::Delivered => 2,
        MessageStatus::Read => 3,
        // A failure is not a step forward, and the rank of an unknown status is not known.
        _ => return None,
    };
    let mut hasher = DefaultHasher::new();
    (source, &event.session_id, event.message_id.as_ref()?).hash(&mut hasher);
    Some((hasher.finish(), rank))
}

/// For how many messages the furthest status is remembered.
const REMEMBERED: usize = 100_000;

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
        let mut monotonic = Monotonic::default();
        let mut comes = |seq, message, status| {
            monotonic.comes(Position::first(seq), "s", &events(message, status), |_| {
                true
            })
        };
        assert!(comes(1, "a", "sent"));
        assert!(comes(2, "a", "read"));
        assert!(!comes(3, "a", "delivered"));
        assert!(!comes(4, "a", "sent"));
        assert!(comes(5, "a", "read"));
        assert!(comes(6, "b", "sent"));
        assert!(comes(7, "a", "failed"));
        assert!(comes(8, "a", "played"));
    }

    #[test]
    fn a_further_status_overtakes_a_waiting_one() {
        let mut monotonic = Monotonic::default();
        for (seq, status) in [(1, "sent"), (2, "delivered"), (3, "read"), (4, "read")] {
            monotonic.comes(Position::first(seq), "s", &events("a", status), |_| true);
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
        let mut monotonic = Monotonic::default();
        for seq in 0..300 {
            let (message, status) = (seq / 3, ["sent", "delivered", "read"][seq as usize % 3]);
            monotonic.comes(
                Position::first(seq),
                "s",
                &events(&message.to_string(), status),
                |_| false,
            );
            assert!(!monotonic.forget(Position::first(seq)));
            monotonic.forget(Position::first(seq));
        }
        assert_eq!(monotonic.overtaken.len(), 0);
    }
}
