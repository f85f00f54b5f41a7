//! [`Viewer`]: makes what one viewer is sent, piece by piece, as fast as its connection takes it.
//!
//! A piece is made when the connection has room for it. So what is not read waits in the journal, and in
//! [`News`](crate::telemetry::News), and holds up nothing. Without `complete` a viewer gets [so many rows a second](Pace), some of
//! them for states, and where more than [`WAITING`] events have piled up it goes on with the newest, and is told how
//! many it has missed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tokio::time::{sleep, sleep_until};

use super::super::error::ApiError;
use super::encoding::{self, HEARTBEAT};
use super::pace::{Kind, Pace};
use super::reader::{EventReader, Gap, Next};
use super::rows::RowFilter;
use crate::clock::{Clock as _, SystemClock};
use crate::journal::Unavailable;
use crate::telemetry::{ChangeKind, Heard, Viewing};

/// How far the events are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upto {
    /// All that there are.
    End,
    /// Those for which there is room in this second.
    Room,
    /// Some of those that may be sent now.
    Part,
}

/// What one viewer is sent.
pub(super) struct Viewer {
    /// Reads the events, if it wants any.
    pub(super) events: Option<EventReader>,
    pub(super) viewing: Viewing,
    pub(super) filter: Arc<RowFilter>,
    pub(super) pace: Pace,
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
            if self.out.is_empty() && !self.has_ended {
                if self.viewing.is_sent_away() {
                    self.say_bye();
                } else if SystemClock.monotonic() >= self.heartbeat() {
                    self.beat();
                }
            }
            if !self.out.is_empty() {
                self.sent_at = SystemClock.monotonic();
                return Some(std::mem::take(&mut self.out).into());
            }
            if self.has_ended {
                return None;
            }
            match self.gather().await {
                Ok(Upto::Part) => {}
                Ok(_) if self.out.is_empty() => self.wait().await,
                Ok(_) => {}
                Err(error) => {
                    // It is logged with this. The viewer comes back, and goes on where it was.
                    drop(ApiError::from(error));
                    return None;
                }
            }
        }
    }

    /// Gathers what there is: first events, then changes.
    async fn gather(&mut self) -> Result<Upto, Unavailable> {
        let used_up = self.pace.was_used_up(SystemClock.monotonic());
        self.skip_if_behind(used_up);
        // An event is there before anything becomes of it: the events of what was told by now are read below.
        let told = self.viewing.told();
        let upto = self.read().await?;
        let (states, others) = match upto {
            Upto::End => (told, told),
            // Some come before their events, as otherwise none would come.
            Upto::Room => (u64::MAX, u64::MAX),
            Upto::Part => (0, u64::MAX),
        };
        // Events leave room for changes.
        while self.out.len() < 2 * PIECE {
            let states = if self.pace.has_room(Kind::State) {
                states
            } else {
                0
            };
            match self.viewing.hear(states, others) {
                Some(heard) => self.heard(heard),
                None => break,
            }
        }
        Ok(upto)
    }

    /// Reads events, as long as there is room for them.
    async fn read(&mut self) -> Result<Upto, Unavailable> {
        let heartbeat = self.heartbeat();
        let Some(events) = &mut self.events else {
            return Ok(Upto::End);
        };
        while self.out.len() < PIECE {
            if !self.pace.has_room(Kind::Event) {
                let is_at_end = events.is_at_end();
                return Ok(if is_at_end { Upto::End } else { Upto::Room });
            }
            let next = tokio::select! {
                biased;
                next = events.next() => next?,
                // Reading may take long.
                () = self.viewing.bye() => return Ok(Upto::Part),
                () = sleep_until(heartbeat.into()) => return Ok(Upto::Part),
            };
            match next {
                Next::Row(row) => {
                    self.pace.row(Kind::Event);
                    self.out.push_str(&row.text);
                }
                Next::Removed(gap) => tell_gap(&mut self.out, gap, "removed"),
                // There may be something else to send.
                Next::LeftOut => return Ok(Upto::Part),
                Next::End => return Ok(Upto::End),
            }
        }
        Ok(Upto::Part)
    }

    /// Leaves out events if too many wait, unless the viewer wants all. `used_up`: it has just got as many as it gets
    /// in a second.
    fn skip_if_behind(&mut self, used_up: bool) {
        let Some(events) = &mut self.events else {
            return;
        };
        let (is_narrow, has_caught_up) = (self.filter.is_narrow(), events.has_caught_up());
        if !self.pace.is_complete()
            && may_wait(is_narrow, used_up, has_caught_up)
                .is_some_and(|most| events.behind() > most)
            && let Some(gap) = events.skip()
        {
            tell_gap(&mut self.out, gap, "behind");
        }
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Change(change) if self.filter.takes(&change) => {
                // Others are rare, and do not count.
                if change.kind == ChangeKind::State {
                    self.pace.row(Kind::State);
                }
                encoding::add(&mut self.out, None, change.kind.as_str(), &change.data);
            }
            Heard::Change(_) => {}
            Heard::Missed { states, changes } => {
                let asked = self.filter.changes.iter();
                let asked = asked.filter(|kind| (**kind == ChangeKind::State) == states);
                let kinds: Vec<_> = asked.map(|kind| kind.as_str()).collect();
                let kind = kinds.join(",");
                let data = json!({ "kind": kind, "changes": changes, "why": "behind" });
                encoding::add(&mut self.out, None, "skipped", &data.to_string());
            }
        }
    }

    fn say_bye(&mut self) {
        encoding::add(&mut self.out, None, "bye", "{}");
        self.has_ended = true;
    }

    /// When something is sent though there is nothing.
    fn heartbeat(&self) -> Instant {
        self.sent_at + HEARTBEAT_EVERY
    }

    /// Shows that the connection is there; and where a client goes on that comes back, if a filter has left out what
    /// was read.
    fn beat(&mut self) {
        let events = self.events.as_mut();
        match events.and_then(EventReader::untold_place) {
            Some(place) => encoding::place(&mut self.out, &place),
            None => self.out.push_str(HEARTBEAT),
        }
    }

    /// Waits until there is something to send.
    async fn wait(&mut self) {
        let heartbeat = self.heartbeat();
        let next_room = self.pace.next_room();
        let until = next_room.map_or(heartbeat, |at| at.min(heartbeat));
        let has_room = self.pace.has_room(Kind::Event);
        let hears_states = self.pace.has_room(Kind::State);
        let events = async {
            match self.events.as_mut().filter(|_| has_room) {
                Some(events) => events.wait().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.viewing.wait(hears_states) => {}
            () = events => {
                // What comes close together is sent together.
                sleep(GATHER).await;
            }
            () = sleep_until(until.into()) => {}
        }
    }
}

/// How many events may wait, if some may be left out now.
fn may_wait(is_narrow: bool, used_up: bool, has_caught_up: bool) -> Option<u64> {
    match (is_narrow, used_up) {
        (false, true) => Some(WAITING),
        // What it begins with may take longer to look through.
        (true, _) if used_up || has_caught_up => Some(FAR_BEHIND),
        _ => None,
    }
}

fn tell_gap(out: &mut String, gap: Gap, why: &str) {
    let data = json!({
        "kind": "event",
        "from": gap.from,
        "to": gap.to,
        "events": gap.bodies(),
        "why": why,
    });
    encoding::add(out, None, "skipped", &data.to_string());
}

/// How many events wait for a viewer that does not keep up, before it goes on with the newest.
const WAITING: u64 = 512;

/// The same for one whose filter leaves out some, which keeps up with what it sees.
const FAR_BEHIND: u64 = 20_000;

/// How long it waits after an event for others.
const GATHER: Duration = Duration::from_millis(10);

/// A viewer that is sent nothing else is sent a comment so often, which finds out whether it is there.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);

/// About how many bytes are sent at a time.
const PIECE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::super::reader::tests::{of_no_session, reader};
    use super::*;
    use crate::telemetry::News;

    /// Looks for events of a session that has none; it is silent for nearly as long as it may be.
    async fn looking(news: &News) -> Viewer {
        let filter = of_no_session();
        Viewer {
            events: Some(reader(&filter, news).await),
            viewing: news.view(&ChangeKind::ALL).unwrap(),
            filter,
            pace: Pace::new(true, true),
            out: String::new(),
            sent_at: SystemClock.monotonic() + Duration::from_millis(200) - HEARTBEAT_EVERY,
            has_ended: false,
        }
    }

    async fn next(viewer: &mut Viewer) -> Option<Bytes> {
        let next = timeout(Duration::from_secs(10), viewer.next()).await;
        next.expect("it is not silent")
    }

    #[actix_web::test]
    async fn who_finds_nothing_goes_on_behind_what_was_read() {
        let news = News::new();
        let mut viewer = looking(&news).await;
        // What takes long is told on the way.
        let mut told = next(&mut viewer).await.unwrap();
        while told != "id: 100\n\n" {
            assert!(told.starts_with(b"id: ") || told == HEARTBEAT, "{told:?}");
            told = next(&mut viewer).await.unwrap();
        }
    }

    #[actix_web::test]
    async fn who_waits_for_the_disk_is_told_that_the_server_is_there() {
        let news = News::new();
        let mut viewer = looking(&news).await;
        let turn = news.turn().await;
        assert_eq!(next(&mut viewer).await.unwrap(), HEARTBEAT);
        let bye = async {
            sleep(Duration::from_millis(50)).await;
            news.send_away();
        };
        let (said, ()) = futures_util::future::join(next(&mut viewer), bye).await;
        assert_eq!(said.unwrap(), "event: bye\ndata: {}\n\n");
        assert_eq!(next(&mut viewer).await, None);
        drop(turn);
    }

    #[test]
    fn what_a_viewer_begins_with_is_shown_first() {
        assert_eq!(may_wait(false, false, true), None);
        assert_eq!(may_wait(false, true, false), Some(WAITING));
        assert_eq!(may_wait(true, false, false), None);
        assert_eq!(may_wait(true, true, false), Some(FAR_BEHIND));
        assert_eq!(may_wait(true, false, true), Some(FAR_BEHIND));
    }
}
