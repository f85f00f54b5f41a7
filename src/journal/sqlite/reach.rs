//! [`Reach`]: how far the rows beside the log reach.

use rusqlite::types::Value;

use super::tables::Table;
use crate::journal::Seq;

/// The newest body that consumers and dead letters speak of. If such a number were given again, a consumer would
/// take the new event for one that it has settled.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// This body existed.
    pub(super) known: Seq,
    /// No later one is spoken of.
    pub(super) last: Seq,
}

impl Reach {
    /// Looks into a row. See `dispatch/saved` for what progress is.
    pub(super) fn add(&mut self, table: &Table, row: &[Value]) {
        let (mut known, mut last) = (0, 0);
        match &*table.name {
            "consumers" => {
                let head = table.blob(row, "saved").unwrap_or_default();
                let head: Option<serde_json::Value> = serde_json::from_slice(head).ok();
                known = head
                    .and_then(|head| head.get("floor")?.as_u64())
                    .unwrap_or(0);
            }
            "progress" => {
                let key = table.blob(row, "key").unwrap_or_default();
                let number = key.get(1..).and_then(|rest| rest.first_chunk());
                let number = number.map_or(0, |number| u64::from_be_bytes(*number));
                match key.first() {
                    Some(b'p') => known = number,
                    Some(b'r') => known = number >> 16,
                    Some(b's' | b'h') => last = number.saturating_add(1).saturating_mul(CHUNK) - 1,
                    _ => {}
                }
            }
            "dead_letters" | "dead" => {
                let seq = table.number(row, "seq");
                known = seq.and_then(|seq| u64::try_from(seq).ok()).unwrap_or(0);
            }
            _ => {}
        }
        if known.max(last) <= MOST {
            self.known = self.known.max(known);
            self.last = self.last.max(known).max(last);
        }
    }
}

/// How many bodies a chunk of progress has, see `dispatch/progress.rs`.
const CHUNK: u64 = 4096;

/// Positions have room for no larger number.
pub(super) const MOST: Seq = (1 << 48) - 1;
