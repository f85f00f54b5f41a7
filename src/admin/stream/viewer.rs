//! [`Viewer`]: makes what one viewer is sent, piece by piece, as fast as its connection takes it.
//!
//! A piece is made when the connection has room for it. So what is not read waits in the journal, and in
//! [`News`](crate::telemetry::News), and holds up nothing. Without `complete` a viewer gets [`ROWS_A_SECOND`], and
//! where more than [`WAITING`] events have piled up it goes on with the newest, and is told how many it has missed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tokio::time::{sleep, sleep_until};

use super::super::error::ApiError;
use super::encoding::{self, HEARTBEAT};
use super::reader::{EventReader, Gap, Next};
use super::rows::RowFilter;
use crate::clock::{Clock as _, SystemClock};
use crate::journal::Unavailable;
use crate::telemetry::{ChangeKind, Heard, Viewing};

/// What one viewer is sent.
pub(super) struct Viewer {
    /// Reads the events, if it wants any.
    pub(super) events: Option<EventReader>,
    pub(super) viewing: Viewing,
    pub(super) filter: Arc<RowFilter>,
    pub(super) pace: Pace,
    /// What it has heard, and is told behind the events that are there.
    pub(super) waiting: Option<Heard>,
    /// What is to be sent next.
    pub(super) out: String,
    /// When something was sent last.
    pub(super) sent_at: Instant,
    /// Nothing more is sent.
    pub(super) has_ended: bool,
}

impl Viewer {
    /// Returns what is sent next, or `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.out.is_empty() {
                self.sent_at = SystemClock.monotonic();
                return Some(std::mem::take(&mut self.out).into());
            }
            if self.has_ended {
                return None;
            }
            if self.viewing.is_sent_away() {
                self.say_bye();
            } else if let Err(error) = self.gather().await {
                // It is logged with this. The viewer comes back, and goes on where it was.
                drop(ApiError::from(error));
                return None;
            }
            if self.out.is_empty() {
                self.wait().await;
            }
        }
    }

    /// Gathers what there is: first events, then changes.
    async fn gather(&mut self) -> Result<(), Unavailable> {
        if self.pace.was_used_up(SystemClock.monotonic()) {
            self.skip_if_behind(WAITING);
        }
        self.skip_if_behind(FAR_BEHIND);
        while self.out.len() < PIECE && self.pace.has_room() {
            let Some(events) = &mut self.events else {
                break;
            };
            match events.next().await? {
                Next::Row(row) => {
                    self.pace.row();
                    self.out.push_str(&row.text);
                }
                Next::Removed(gap) => self.tell_gap(gap, "removed"),
                Next::End => break,
            }
        }
        // An event is there before anything becomes of it.
        while self.out.len() < PIECE && self.pace.has_room() {
            match self.waiting.take().or_else(|| self.viewing.try_hear()) {
                Some(heard) => self.heard(heard),
                None => break,
            }
        }
        Ok(())
    }

    /// Leaves out events if there are more than `most`, unless the viewer wants all.
    fn skip_if_behind(&mut self, most: u64) {
        if self.pace.is_complete() || (self.filter.is_narrow() && most < FAR_BEHIND) {
            return;
        }
        let events = self.events.as_mut();
        let events = events.filter(|events| events.behind() > most);
        if let Some(gap) = events.and_then(EventReader::skip) {
            self.tell_gap(gap, "behind");
        }
    }

    fn tell_gap(&mut self, gap: Gap, why: &str) {
        let data = json!({
            "kind": "event",
            "from": gap.from,
            "to": gap.to,
            "events": gap.bodies(),
            "why": why,
        });
        encoding::add(&mut self.out, None, "skipped", &data.to_string());
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Change(change) if self.filter.takes(&change) => {
                self.pace.row();
                encoding::add(&mut self.out, None, change.kind.as_str(), &change.data);
            }
            Heard::Change(_) => {}
            Heard::Missed(missed) => {
                // Others are rare.
                let kind = ChangeKind::State.as_str();
                let data = json!({ "kind": kind, "events": missed, "why": "behind" });
                encoding::add(&mut self.out, None, "skipped", &data.to_string());
            }
            Heard::Bye => self.say_bye(),
        }
    }

    fn say_bye(&mut self) {
        encoding::add(&mut self.out, None, "bye", "{}");
        self.has_ended = true;
    }

    /// Waits until there is something to send.
    async fn wait(&mut self) {
        let has_room = self.pace.has_room();
        let heartbeat = self.sent_at + HEARTBEAT_EVERY;
        let until = self
            .pace
            .next_room()
            .map_or(heartbeat, |at| at.min(heartbeat));
        let events = async {
            match self.events.as_mut().filter(|_| has_room) {
                Some(events) => events.wait().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            heard = self.viewing.hear(has_room) => match heard {
                Heard::Bye => self.say_bye(),
                other => self.waiting = Some(other),
            },
            () = events => {
                // What comes close together is sent together.
                sleep(GATHER).await;
            }
            () = sleep_until(until.into()) => {
                if until == heartbeat {
                    self.out.push_str(HEARTBEAT);
                }
            }
        }
    }
}

/// How many rows a viewer has got in this second.
#[derive(Debug)]
pub(super) struct Pace {
    /// All rows are sent.
    complete: bool,
    rows: u32,
    since: Option<Instant>,
}

impl Pace {
    pub(super) fn new(complete: bool) -> Self {
        Self {
            complete,
            rows: 0,
            since: None,
        }
    }

    fn is_complete(&self) -> bool {
        self.complete
    }

    /// Begins the next second, if it is time. Returns whether the one before was used up.
    fn was_used_up(&mut self, now: Instant) -> bool {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= SECOND;
        if !self.since.is_none_or(is_over) {
            return false;
        }
        let was_used_up = !self.has_room();
        self.rows = 0;
        // The next second begins with its first row.
        self.since = None;
        was_used_up
    }

    fn row(&mut self) {
        self.rows += 1;
        if self.since.is_none() {
            self.since = Some(SystemClock.monotonic());
        }
    }

    /// Whether another row may be sent in this second.
    fn has_room(&self) -> bool {
        self.complete || self.rows < ROWS_A_SECOND
    }

    /// When there is room again; `None` if there is.
    fn next_room(&self) -> Option<Instant> {
        let since = self.since.filter(|_| !self.has_room());
        since.map(|since| since + SECOND)
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// How many rows a viewer gets in a second, unless it wants all.
const ROWS_A_SECOND: u32 = 200;

/// How many events wait for a viewer that does not keep up, before it goes on with the newest.
const WAITING: u64 = 512;

/// The same for one that keeps up with what it sees: its filter leaves out nearly all.
const FAR_BEHIND: u64 = 20_000;

/// How long it waits after an event for others.
const GATHER: Duration = Duration::from_millis(10);

/// A viewer that is sent nothing else is sent a comment so often, which finds out whether it is there.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);

/// About how many bytes are sent at a time.
const PIECE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_two_hundred_rows() {
        let start = SystemClock.monotonic();
        let mut pace = Pace::new(false);
        assert!(!pace.was_used_up(start));
        for _ in 0..ROWS_A_SECOND {
            assert!(pace.has_room() && pace.next_room().is_none());
            pace.row();
        }
        assert!(!pace.has_room());
        let next = pace.next_room().unwrap();
        assert!(next >= start + SECOND);
        assert!(!pace.was_used_up(start) && pace.was_used_up(next));
        assert!(pace.has_room() && !pace.was_used_up(next + SECOND));
    }

    #[test]
    fn who_wants_all_waits_for_nothing() {
        let mut pace = Pace::new(true);
        for _ in 0..=ROWS_A_SECOND {
            pace.row();
        }
        assert!(pace.has_room() && pace.next_room().is_none());
    }
}
