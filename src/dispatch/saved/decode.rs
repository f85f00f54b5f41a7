//! Reads what was saved.

use roaring::RoaringBitmap;

use super::{Head, PLAIN, ROARING, Row, Saved, Waiting, older};
use crate::Timestamp;
use crate::dispatch::progress::{Partly, Progress};
use crate::dispatch::replay::Replay;
use crate::journal::SavedProgress;

impl Saved {
    /// Reads what was saved, also by older versions; `None` if it cannot be read.
    pub(crate) fn decode(saved: &SavedProgress) -> Option<Self> {
        // What older versions wrote is never JSON: it begins with seven bytes of a length, some of them 0.
        let head = match serde_json::from_slice::<Head>(&saved.head) {
            Ok(head) => head,
            // The journal has lost it: nothing is settled but what the rows say.
            Err(_) if saved.head.is_empty() => Head::default(),
            Err(_) => return older::decode(&saved.head),
        };
        let mut state = Self {
            progress: Progress::starting_after(head.floor),
            head,
            ..Self::default()
        };
        for (key, value) in &saved.rows {
            state.load(Row::decode(key)?, value)?;
        }
        Some(state)
    }

    fn load(&mut self, row: Row, value: &[u8]) -> Option<()> {
        match row {
            Row::Settled(chunk) => self.progress.load_chunk(chunk, &bitmap(value)?),
            Row::Partly(seq) => {
                let (of, settled) = serde_json::from_slice(value).ok()?;
                self.progress.load_partly(seq, Partly { of, settled });
            }
            Row::Retry(position) => {
                self.retries.insert(position, Waiting::decode(value)?);
            }
            Row::Replaying(chunk) => self.replaying.load(chunk, bitmap(value)?),
            Row::Replay(id) => {
                let mut replay: Replay = serde_json::from_slice(value).ok()?;
                replay.id = id;
                // The keys are sorted by id, and an id begins with its time.
                self.replays.push(replay);
            }
            Row::Pending(id, chunk) => {
                let bits = bitmap(value)?;
                if let Some(replay) = self.replays.iter_mut().find(|replay| replay.id == id) {
                    replay.pending.load(chunk, bits);
                }
            }
            Row::Bookmark => self.bookmark = Some(serde_json::from_slice(value).ok()?),
            Row::Statuses(number) => self.statuses.load(number, value)?,
        }
        Some(())
    }
}

impl Waiting {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (attempts, times) = bytes.split_first_chunk()?;
        let (due, at) = times.split_first_chunk()?;
        let time = |bytes| Timestamp::from_millisecond(i64::from_le_bytes(bytes)).ok();
        Some(Self {
            attempts: u32::from_le_bytes(*attempts),
            due: time(*due)?,
            at: time(at.try_into().ok()?)?,
        })
    }
}

fn bitmap(bytes: &[u8]) -> Option<RoaringBitmap> {
    match bytes.split_first()? {
        (&ROARING, bits) => RoaringBitmap::deserialize_from(bits).ok(),
        (&PLAIN, bits) => Some(RoaringBitmap::from_lsb0_bytes(0, bits)),
        _ => None,
    }
}
