//! Restores the silence of each source from the journal when the server starts.
//!
//! Reads the newest [`MAX_RECORDS`] events, within [`MAX_BYTES`] of bodies. The silence of a source
//! without an event among them is counted from the start, as without a journal.

use std::sync::atomic::Ordering;

use super::{LastSeen, NEVER, Silence};
use crate::dialect;
use crate::journal::{Journal, Record, Seq, Unavailable};
use crate::signature::TEST;
use crate::{SourceChange, Timestamp};

impl Silence {
    /// Restores from the journal the time of each source's last event, and whether the source was quiet.
    pub(crate) async fn recall(&self, journal: &dyn Journal) -> Result<(), Unavailable> {
        let all = self.all().into_iter();
        let mut recalled: Vec<_> = all.map(|seen| (seen, Recalled::default())).collect();
        let head = journal.tail().head();
        let oldest = head.saturating_sub(MAX_RECORDS);
        let (mut end, mut bytes) = (head, 0);
        while end > oldest
            && let Some(block) = block(journal, end, &mut bytes).await?
        {
            for record in block.iter().rev() {
                for (seen, recalled) in &mut recalled {
                    recalled.look(seen, record);
                }
            }
            end = end.saturating_sub(BLOCK);
        }
        for (seen, recalled) in recalled {
            self.set(&seen, &recalled);
        }
        Ok(())
    }

    fn set(&self, seen: &LastSeen, recalled: &Recalled) {
        if let Some(last_at) = recalled.last_at {
            // If the clock was set back, the event's age is 0.
            let age = self.clock.now().duration_since(last_at).as_nanos().max(0);
            let age = i64::try_from(age).unwrap_or(i64::MAX / 2);
            seen.last.store(self.now() - age, Ordering::SeqCst);
            let last_at = last_at.as_microsecond();
            seen.last_at.store(last_at, Ordering::Relaxed);
        }
        if let (Some(since), Some(_)) = (recalled.quiet_since, seen.quiet_after()) {
            let seen_since = recalled.seen_since;
            let mark = if seen_since { NEVER } else { seen.last() };
            seen.recalled_mark.store(mark, Ordering::Relaxed);
            let since = since.as_microsecond();
            seen.quiet_since.store(since, Ordering::SeqCst);
        }
    }
}

/// The records of the block that ends at `end`; `None` when the block is too large to read.
async fn block(
    journal: &dyn Journal,
    end: Seq,
    bytes: &mut usize,
) -> Result<Option<Vec<Record>>, Unavailable> {
    let mut after = end.saturating_sub(BLOCK);
    let mut block = Vec::new();
    while after < end {
        let most = usize::try_from(end - after).unwrap_or(usize::MAX);
        let mut part = journal.read(after, most).await?;
        part.retain(|record| record.seq <= end);
        let Some(last) = part.last() else {
            break;
        };
        after = last.seq;
        *bytes += part.iter().map(|r| r.received.body.len()).sum::<usize>();
        block.append(&mut part);
        if *bytes > MAX_BYTES {
            return Ok(None);
        }
    }
    Ok((!block.is_empty()).then_some(block))
}

/// What the journal says about one source or session; the search begins at the newest event.
#[derive(Debug, Default)]
struct Recalled {
    last_at: Option<Timestamp>,
    quiet_since: Option<Timestamp>,
    /// It was seen after it was reported quiet.
    seen_since: bool,
    /// The last report was found.
    said: bool,
}

impl Recalled {
    fn look(&mut self, seen: &LastSeen, record: &Record) {
        let received = &record.received;
        let is_test = received.headers.iter().any(|(name, _)| &**name == TEST);
        if *received.source != *seen.source || is_test {
            return;
        }
        match dialect::read_own(received) {
            None => {
                let session = seen.session.as_deref();
                let mut parts = record.parts.views(received);
                let is_its = session.is_none() || parts.any(|part| part.session == session);
                if is_its && self.last_at.is_none() {
                    self.last_at = Some(received.received_at);
                }
            }
            Some(Ok(event)) if event.session_id == seen.session && !self.said => {
                self.said = true;
                if event.change == SourceChange::Quiet {
                    self.quiet_since = Some(event.timestamp);
                    self.seen_since = self.last_at.is_some();
                }
                self.last_at = self.last_at.or(event.last_event_at);
            }
            Some(_) => {}
        }
    }
}

const BLOCK: u64 = 256;

/// How many events are read at the start.
const MAX_RECORDS: u64 = 4096;

/// How many bytes of bodies are read at the start; the block that exceeds this is skipped.
const MAX_BYTES: usize = 64 * 1024 * 1024;
