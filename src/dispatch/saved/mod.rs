//! [`Saved`]: what a journal stores about a consumer, as a head and rows.
//!
//! The head is JSON. A save replaces it, and changes only those [rows](Row) whose content has changed, so
//! it costs what was done and not what waits. Times are stored as milliseconds since 1970.

mod decode;
#[cfg(all(feature = "sqlite", feature = "postgres"))]
mod moving;
mod older;
mod row;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::fmt::serde::timestamp::millisecond;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

#[cfg(all(feature = "sqlite", feature = "postgres"))]
pub(crate) use self::moving::ProgressShapes;
pub(super) use self::row::Row;
use super::lane::{SessionHasher, SessionKey};
use super::monotonic::Statuses;
use super::progress::{Positions, Progress};
use super::replay::Replay;
use crate::Timestamp;
use crate::journal::{PositionMap, Seq};

/// What a journal stores about a consumer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Saved {
    pub(crate) head: Head,
    pub(crate) progress: Progress,
    /// The events that were tried and wait for a retry.
    pub(crate) retries: PositionMap<Waiting>,
    /// Events that a replay has handed over and that are not settled since.
    pub(crate) replaying: Positions,
    /// The replays, oldest first.
    pub(crate) replays: Vec<Replay>,
    pub(super) statuses: Statuses,
    pub(super) bookmark: Option<Bookmark>,
    /// The rows that have changed since the last save, beside those that the other fields note.
    pub(super) changed: BTreeSet<Row>,
}

/// How far a consumer had read at some time, and where the events began that were not settled then. With it
/// a new process need not read a backlog again before it reads on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bookmark {
    pub(crate) cursor: Seq,
    pub(crate) hasher: SessionHasher,
    /// All sessions with unsettled events up to the cursor, each with the body of its oldest.
    pub(crate) oldest: BTreeMap<SessionKey, Seq>,
}

/// What each save replaces.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Every body up to here is settled.
    pub(crate) floor: Seq,
    /// Nothing starts until an administrator resumes the consumer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) paused: bool,
    /// For how long attempts have failed without a success, in milliseconds; `None` if the last one
    /// succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failing_ms: Option<u64>,
    /// Set while the consumer is suspended because nothing succeeded for too long, until an
    /// administrator resumes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) suspended: Option<Suspended>,
}

/// An event that was tried and waits for a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) attempts: u32,
    /// The earliest time of the next attempt.
    pub(crate) due: Timestamp,
    /// When this was written: the event waits no longer than it had to at that time, even if the clock was
    /// set back since.
    pub(crate) at: Timestamp,
}

/// Why nothing is delivered to a consumer until an administrator resumes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "(i64, String)")]
pub(crate) struct Suspended {
    /// When the suspension began.
    #[serde(with = "millisecond::required")]
    pub(crate) since: Timestamp,
    /// How the last attempt before it ended.
    pub(crate) reason: String,
}

impl Saved {
    /// The state of a consumer that starts after `floor`.
    pub(crate) fn starting_after(floor: Seq) -> Self {
        let head = Head {
            floor,
            ..Head::default()
        };
        Self {
            head,
            progress: Progress::starting_after(floor),
            ..Self::default()
        }
    }

    /// The content of a row; `None` if there is nothing to store.
    pub(super) fn row(&self, row: Row) -> Option<Vec<u8>> {
        match row {
            Row::Settled(chunk) => bytes(&self.progress.chunk(chunk)),
            Row::Partly(seq) => {
                let body = self.progress.partly(seq)?;
                // Without a settled event it is as any other body.
                let worth = !body.settled.is_empty();
                worth.then(|| json(&(body.of, &body.settled)))
            }
            Row::Retry(position) => self.retries.get(&position).map(Waiting::encode),
            Row::Replaying(chunk) => self.replaying.chunk(chunk).and_then(bytes),
            Row::Replay(id) => self.replay(id).map(json),
            Row::Pending(id, chunk) => self.replay(id)?.pending.chunk(chunk).and_then(bytes),
            Row::Bookmark => self.bookmark.as_ref().map(json),
            Row::Statuses(number) => self.statuses.row(number),
        }
    }

    /// The rows that have changed since the last call.
    pub(super) fn take_changed(&mut self) -> impl Iterator<Item = Row> + use<> {
        let settled = std::mem::take(&mut self.progress.changed);
        let replaying = std::mem::take(&mut self.replaying.changed);
        let statuses = self.statuses.take_changed();
        let mut pending = Vec::new();
        for replay in &mut self.replays {
            let chunks = std::mem::take(&mut replay.pending.changed);
            pending.extend(
                chunks
                    .into_iter()
                    .map(|chunk| Row::Pending(replay.id, chunk)),
            );
        }
        let settled = { settled.chunks.into_iter() }
            .map(Row::Settled)
            .chain(settled.partly.into_iter().map(Row::Partly));
        let replaying = replaying.into_iter().map(Row::Replaying);
        let statuses = statuses.into_iter().map(Row::Statuses);
        let others = std::mem::take(&mut self.changed).into_iter();
        settled
            .chain(replaying)
            .chain(statuses)
            .chain(pending)
            .chain(others)
    }

    pub(crate) fn replay(&self, id: uuid::Uuid) -> Option<&Replay> {
        self.replays.iter().find(|replay| replay.id == id)
    }
}

impl Waiting {
    /// Twenty bytes: the attempts, and both times in milliseconds, least significant byte first.
    pub(super) fn encode(&self) -> Vec<u8> {
        let times = [self.due, self.at].map(|time| time.as_millisecond().to_le_bytes());
        [&self.attempts.to_le_bytes()[..], &times[0], &times[1]].concat()
    }

    /// How long the event waits at `now`.
    pub(crate) fn pause(&self, now: Timestamp) -> Duration {
        let until = |from| Duration::try_from(self.due.duration_since(from)).unwrap_or_default();
        until(now).min(until(self.at))
    }
}

impl Head {
    pub(crate) fn encode(&self) -> Vec<u8> {
        json(self)
    }

    /// For how long attempts have failed without a success.
    pub(crate) fn failing(&self) -> Option<Duration> {
        self.failing_ms.map(Duration::from_millis)
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("numbers and text")
}

/// The bytes of a bitmap; `None` for an empty one. They begin with their form: [`ROARING`], or [`PLAIN`]
/// where a bit for each body is shorter.
fn bytes(bits: &RoaringBitmap) -> Option<Vec<u8>> {
    let mut bits = bits.clone();
    bits.optimize();
    let last = bits.max()?;
    let plain = usize::try_from(last / 8 + 1).unwrap_or(usize::MAX);
    if plain < bits.serialized_size() {
        let mut bytes = vec![0; 1 + plain];
        bytes[0] = PLAIN;
        for bit in &bits {
            bytes[1 + bit as usize / 8] |= 1 << (bit % 8);
        }
        return Some(bytes);
    }
    let mut bytes = vec![ROARING];
    let written = bits.serialize_into(&mut bytes);
    written.expect("a vector takes everything");
    Some(bytes)
}

const ROARING: u8 = 0;
const PLAIN: u8 = 1;

/// A suspension is stored as a pair.
impl From<Suspended> for (i64, String) {
    fn from(suspended: Suspended) -> Self {
        (suspended.since.as_millisecond(), suspended.reason)
    }
}
