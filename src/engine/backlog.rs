//! [`Backlog`]: what waits for a consumer that does not run, such as a subscription that its subscriber has
//! ended.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Pipeline;
use crate::dispatch::Saved;
use crate::index::EventFilter;
use crate::journal::{Position, Unavailable};
use crate::{EventKind, Timestamp};

/// What waits for a consumer that does not run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// How many events. Of a part of all events at most [`MOST_COUNTED`] are counted.
    pub(crate) lag: u64,
    /// When the oldest of them was received.
    pub(crate) oldest_waiting: Option<Timestamp>,
}

/// Which events a consumer wants.
pub(crate) struct Wanted<'a> {
    /// The session; `None` for all.
    pub(crate) session: Option<&'a str>,
    /// The kinds; `None` for all.
    pub(crate) kinds: Option<&'a BTreeSet<EventKind>>,
}

impl Wanted<'_> {
    /// Whether it wants all events, which are counted without the index.
    pub(crate) fn is_all(&self) -> bool {
        self.session.is_none() && self.kinds.is_none()
    }
}

impl Pipeline {
    /// Waits for the index for one second at most. Returns whether it has all events that were received before,
    /// or there is none.
    pub(crate) async fn is_indexed(&self) -> bool {
        let head = self.journal().tail().head();
        match self.search() {
            Some(search) => search.is_complete(head).await,
            None => true,
        }
    }

    /// Counts what is retained, and what the consumer had not settled when it stopped. Does not wait for the
    /// index.
    ///
    /// # Errors
    ///
    /// When the journal or the index cannot be read now.
    pub(crate) async fn backlog(
        &self,
        consumer: &str,
        wanted: &Wanted<'_>,
    ) -> Result<Backlog, Unavailable> {
        let mut all = Backlog::default();
        for saved in self.saved(consumer).await? {
            let Some(saved) = Saved::decode(&saved) else {
                continue;
            };
            let share = self.backlog_of(&saved, wanted).await?;
            all.lag = all.lag.max(share.lag);
            let oldest = all.oldest_waiting.into_iter();
            all.oldest_waiting = oldest.chain(share.oldest_waiting).min();
        }
        Ok(all)
    }

    async fn backlog_of(&self, saved: &Saved, wanted: &Wanted<'_>) -> Result<Backlog, Unavailable> {
        let (journal, progress) = (self.journal(), &saved.progress);
        // Retention has removed what is missing between the floor and this record.
        let found = journal.read(progress.floor(), 1).await?;
        let Some(first) = found.first() else {
            return Ok(Backlog::default());
        };
        let oldest = first.received.received_at;
        let waiting = match self.search().filter(|_| !wanted.is_all()) {
            None => {
                let lag = progress.unsettled(first.seq, journal.tail().head());
                let oldest_waiting = (lag > 0).then_some(oldest);
                return Ok(Backlog {
                    lag,
                    oldest_waiting,
                });
            }
            Some(search) => {
                let mut waiting = Vec::new();
                for kind in kinds(wanted.kinds) {
                    let filter = EventFilter {
                        session: wanted.session.map(str::to_owned),
                        kind,
                        from: oldest.checked_sub(OUT_OF_ORDER).ok(),
                        ..EventFilter::default()
                    };
                    waiting.extend(search.positions_now(filter, MOST_COUNTED).await?);
                }
                waiting
            }
        };
        let waiting = waiting.into_iter();
        let waiting: Vec<Position> = waiting.filter(|one| !progress.is_settled(*one)).collect();
        let oldest_waiting = match waiting.iter().min() {
            None => None,
            Some(position) => {
                let found = journal.read(position.seq() - 1, 1).await?;
                found.first().map(|record| record.received.received_at)
            }
        };
        let lag = waiting.len() as u64;
        Ok(Backlog {
            lag,
            oldest_waiting,
        })
    }
}

/// The kinds to ask an index for, one after the other.
fn kinds(kinds: Option<&BTreeSet<EventKind>>) -> Vec<Option<EventKind>> {
    match kinds {
        None => vec![None],
        Some(kinds) => kinds.iter().copied().map(Some).collect(),
    }
}

/// The most events of each kind that are counted. To find them, the index reads as many.
const MOST_COUNTED: usize = 10_000;

/// How much earlier than the one ahead of it in the journal an event may have been received.
const OUT_OF_ORDER: Duration = Duration::from_secs(60);
