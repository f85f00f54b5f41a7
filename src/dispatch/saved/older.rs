//! Reads progress as version 3 of the journal stored it: a head in JSON, preceded by its length, then two
//! bitmaps of 64-bit numbers (the settled bodies, and the events to be replayed).

use std::collections::BTreeSet;

use jiff::fmt::serde::timestamp::millisecond;
use roaring::RoaringTreemap;
use serde::Deserialize;

use super::{Head, Row, Saved, Suspended, Waiting};
use crate::Timestamp;
use crate::dispatch::progress::Progress;
use crate::journal::{Part, Position, Seq};

#[derive(Debug, Deserialize)]
struct OlderHead {
    floor: Seq,
    #[serde(default)]
    partly: Vec<(Seq, Part, BTreeSet<Part>)>,
    waiting: Vec<OlderWaiting>,
    /// Further events of replayed bodies.
    #[serde(default)]
    replaying: Vec<(Seq, Part)>,
    paused: bool,
    #[serde(with = "millisecond::optional")]
    #[serde(default)]
    failing_since: Option<Timestamp>,
    #[serde(default)]
    suspended: Option<Suspended>,
    #[serde(with = "millisecond::optional")]
    #[serde(default)]
    saved_at: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
struct OlderWaiting {
    seq: Seq,
    #[serde(default = "first")]
    part: Part,
    attempts: u32,
    #[serde(with = "millisecond::required")]
    due: Timestamp,
}

fn first() -> Part {
    1
}

/// Reads the older form; `None` for any other bytes.
pub(super) fn decode(bytes: &[u8]) -> Option<Saved> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (head, mut bitmaps) = rest.split_at_checked(length)?;
    let older: OlderHead = serde_json::from_slice(head).ok()?;
    let settled = RoaringTreemap::deserialize_from(&mut bitmaps).ok()?;
    let replaying = RoaringTreemap::deserialize_from(&mut bitmaps).ok()?;
    let failing = older.failing_since.zip(older.saved_at);
    let failing = failing.map(|(since, at)| at.duration_since(since).as_millis());
    let mut saved = Saved {
        head: Head {
            floor: older.floor,
            paused: older.paused,
            failing_ms: failing.map(|failing| u64::try_from(failing).unwrap_or_default()),
            suspended: older.suspended,
        },
        progress: Progress::starting_after(older.floor),
        ..Saved::default()
    };
    for seq in settled {
        // Everything is written again with the next save.
        saved.progress.settle_body(seq);
    }
    for (seq, of, settled) in older.partly {
        saved.progress.open(seq, of);
        for part in settled {
            saved.progress.settle(Position::new(seq, part));
        }
    }
    for waiting in older.waiting {
        let position = Position::new(waiting.seq, waiting.part);
        let OlderWaiting { attempts, due, .. } = waiting;
        let at = older.saved_at.unwrap_or_default();
        saved
            .retries
            .insert(position, Waiting { attempts, due, at });
        saved.changed.insert(Row::Retry(position));
    }
    let of_bit = |bit: u64| Position::new(bit & MAX_SEQ, (bit >> SEQ_BITS) as Part + 1);
    let further = older.replaying.into_iter();
    let further = further.map(|(seq, part)| Position::new(seq, part));
    for position in further.chain(replaying.iter().map(of_bit)) {
        saved.replaying.insert(position);
    }
    Some(saved)
}

/// The bitmap of replays had the body in the lower bits, and the part above it.
const SEQ_BITS: u32 = 48;
const MAX_SEQ: Seq = (1 << SEQ_BITS) - 1;
