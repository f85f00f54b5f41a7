//! What the fuzz target `index` does: makes blobs of the index, and reads any bytes as such.

use std::sync::Arc;

use uuid::Uuid;

use super::attempts::{self, Attempt, Failure};
use super::segment::{OpenSegment, Segment};
use super::sums::{Kind, open_blob, seal_blob};
use crate::index::EventEntry;
use crate::journal::Position;
use crate::{EventId, EventKind, Timestamp};

/// Returns a blob of events and one of attempts with these texts, as they are in the database.
pub fn make(texts: &[&str]) -> [Vec<u8>; 2] {
    let mut open = OpenSegment::default();
    let mut made = Vec::new();
    for (number, text) in (1..).zip(texts) {
        let at = Timestamp::from_second(number).unwrap_or_default();
        let seq = number.cast_unsigned();
        open.push(&EventEntry {
            id: EventId::new(Uuid::from_u128(seq.into()), 1),
            position: Position::first(seq),
            is_duplicate: seq % 5 == 0,
            duplicate_of: None,
            at,
            source: "source",
            session: (seq % 3 > 0).then_some(*text),
            kind: EventKind::ALL[text.len() % EventKind::ALL.len()],
            name: (seq % 2 > 0).then_some(*text),
            bytes: seq,
            odd: None,
            is_deleted: seq % 7 == 0,
        });
        made.push(Attempt {
            position: Position::first(seq),
            at: number,
            consumer: "handler:a".into(),
            attempt: 1,
            took_ms: text.len() as u32,
            failure: (seq % 2 > 0).then(|| Failure {
                outcome: Arc::from(*text),
                answer: (seq % 3 > 0).then(|| Arc::from(*text)),
            }),
        });
    }
    let events = open.seal().map(|sealed| sealed.events);
    [
        seal_blob(Kind::Events, ID, events.unwrap_or_default()),
        seal_blob(Kind::Attempts, ID, attempts::encode(&made)),
    ]
}

/// Reads bytes as a blob of events, and as one of attempts. Returns how many of each. Where `unchecked`, the
/// checksum is not looked at.
pub fn read(blob: &[u8], unchecked: bool) -> [Option<usize>; 2] {
    let content = |kind| {
        let end = blob.len().saturating_sub(8);
        let content = open_blob(kind, ID, blob);
        content.or_else(|| unchecked.then_some(&blob[..end]))
    };
    let events = content(Kind::Events).and_then(|content| {
        let segment = Segment::decode(content)?;
        let entries = segment.rows.iter().map(|row| segment.entry::<&str>(row));
        Some(entries.count())
    });
    let attempts = content(Kind::Attempts).and_then(attempts::decode);
    [events, attempts.map(|attempts| attempts.len())]
}

const ID: i64 = 7;
