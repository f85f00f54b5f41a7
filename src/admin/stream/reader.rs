//! [`EventReader`]: reads events along the journal, as a consumer does, but without progress.
//!
//! The newest events come from memory ([`Tail`](crate::journal::Tail)), others from the disk. Writing does not
//! know of readers.

use std::collections::VecDeque;
use std::sync::Arc;

use actix_web::{rt, web};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinHandle;

use super::place::Place;
use super::rows::{Row, RowFilter};
use crate::dialect::Decoder;
use crate::journal::{Journal, Record, Seq, Unavailable};
use crate::telemetry::News;

/// Reads the events that pass a filter, in order.
pub(super) struct EventReader {
    source: Source,
    news: News,
    head: watch::Receiver<Seq>,
    /// How often the log has gone back.
    resets: u64,
    /// Everything up to here was read.
    at: Place,
    /// What was read and not taken.
    rows: VecDeque<Row>,
    /// What is being read.
    reading: Option<JoinHandle<Result<Read, Unavailable>>>,
    /// It has come to the end once.
    has_caught_up: bool,
    /// The last place that was told without an event.
    told: Place,
}

/// What events are read from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) decoder: Arc<Decoder>,
    pub(super) filter: Arc<RowFilter>,
}

/// Bodies that are left out: from the first one to the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) from: Seq,
    pub(super) to: Seq,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    Row(Row),
    /// These are not in the journal any more.
    Removed(Gap),
    /// None of those that were read passes the filter; there are more.
    LeftOut,
    /// Nothing, until there are newer events.
    End,
}

/// What was read at a time.
#[derive(Debug)]
enum Read {
    /// Rows, and up to where they go.
    Rows(VecDeque<Row>, Place),
    Removed(Gap),
}

impl EventReader {
    pub(super) fn new(source: Source, news: News, at: Place) -> Self {
        Self {
            head: source.journal.tail().watch(),
            resets: source.journal.tail().resets(),
            source,
            news,
            at,
            rows: VecDeque::new(),
            reading: None,
            has_caught_up: false,
            told: at,
        }
    }

    /// Returns when there may be something to read.
    pub(super) async fn wait(&mut self) {
        if self.rows.is_empty() && self.at.body >= *self.head.borrow_and_update() {
            // It fails when the journal has gone, and then there is nothing more.
            if self.head.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Reads the next event. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read now.
    pub(super) async fn next(&mut self) -> Result<Next, Unavailable> {
        self.go_back();
        if let Some(row) = self.rows.pop_front() {
            return Ok(Next::Row(row));
        }
        if self.is_at_end() {
            self.has_caught_up = true;
            return Ok(Next::End);
        }
        let read = match &mut self.reading {
            Some(reading) => reading.await,
            None => {
                let records = self.source.journal.tail().range(self.at.body, BATCH);
                if !records.is_empty() && !self.source.must_decode(&records) {
                    return Ok(self.took(self.source.take(&records, self.at)));
                }
                // What is in memory anyway is all that may be read without. Nothing is held while waiting: the tail
                // moves on, and would not be all that is in memory.
                drop(records);
                let turn = self.news.turn().await;
                let records = self.source.journal.tail().range(self.at.body, BATCH);
                let reading = self.source.clone().read(self.at, records, turn);
                self.reading.insert(rt::spawn(reading)).await
            }
        };
        self.reading = None;
        Ok(self.took(read.map_err(broken_off)??))
    }

    /// Begins again where the log does, if that has gone back: other events have the numbers that come now.
    fn go_back(&mut self) {
        let tail = self.source.journal.tail();
        let resets = tail.resets();
        if resets == self.resets {
            return;
        }
        let lowest = tail.reset_since(self.resets).map(Place::behind);
        self.resets = resets;
        if let Some(at) = lowest.filter(|lowest| *lowest < self.at) {
            (self.at, self.told) = (at, at);
            self.rows.clear();
            self.reading = None;
        }
    }

    fn took(&mut self, read: Read) -> Next {
        match read {
            Read::Removed(gap) => {
                self.at = Place::behind(gap.to);
                Next::Removed(gap)
            }
            Read::Rows(rows, at) => {
                (self.rows, self.at) = (rows, at);
                self.rows.pop_front().map_or(Next::LeftOut, Next::Row)
            }
        }
    }

    /// Whether there is nothing to read now.
    pub(super) fn is_at_end(&self) -> bool {
        self.rows.is_empty() && self.at.body >= self.head()
    }

    /// Whether it has come to the end once.
    pub(super) fn has_caught_up(&self) -> bool {
        self.has_caught_up
    }

    /// Where it is, if everything up to there was taken or left out; each place is told once.
    pub(super) fn untold_place(&mut self) -> Option<Place> {
        let is_untold = self.rows.is_empty() && self.at > self.told;
        is_untold.then(|| {
            self.told = self.at;
            self.at
        })
    }

    /// How many bodies it has not sent.
    pub(super) fn behind(&self) -> u64 {
        (self.head() + 1).saturating_sub(self.from())
    }

    /// Goes on with what comes from now on. Returns what is left out.
    pub(super) fn skip(&mut self) -> Option<Gap> {
        let gap = Gap {
            from: self.from(),
            to: self.head(),
        };
        self.rows.clear();
        self.reading = None;
        self.at = self.at.max(Place::behind(gap.to));
        (gap.from <= gap.to).then_some(gap)
    }

    /// The number of the next body.
    fn from(&self) -> Seq {
        self.rows.front().map_or(self.at.body + 1, |row| row.seq)
    }

    fn head(&self) -> Seq {
        self.source.journal.tail().head()
    }
}

impl Source {
    /// Reads what is behind `after`, and makes rows of it. A task of its own: the viewer may go meanwhile, and what
    /// was read is there until this ends. So the turn is over then.
    async fn read(
        self,
        after: Place,
        mut records: Vec<Arc<Record>>,
        turn: OwnedSemaphorePermit,
    ) -> Result<Read, Unavailable> {
        if records.is_empty() {
            let read = self.journal.read(after.body, BATCH).await?;
            records = read.into_iter().map(Arc::new).collect();
        }
        if records.is_empty() {
            let missing = "a stored body cannot be found".to_owned();
            return Err(Unavailable::Away(missing));
        }
        if !self.must_decode(&records) {
            return Ok(self.take(&records, after));
        }
        // Decoding must not hold up the others that this thread answers.
        let take = move || {
            let read = self.take(&records, after);
            drop((records, turn));
            read
        };
        web::block(take).await.map_err(broken_off)
    }

    fn must_decode(&self, records: &[Arc<Record>]) -> bool {
        let mut records = records.iter();
        records.any(|record| self.filter.must_decode(record))
    }

    /// The rows of these records, of which there is at least one.
    fn take(&self, records: &[Arc<Record>], after: Place) -> Read {
        let first = records.first().map_or(0, |record| record.seq);
        if first > after.body + 1 {
            let (from, to) = (after.body + 1, first - 1);
            return Read::Removed(Gap { from, to });
        }
        let (mut rows, mut room, mut at) = (VecDeque::new(), ROOM, after);
        for record in records {
            // There is a gap, or there was no room for the whole body.
            if record.seq != at.body + 1 || room == 0 {
                break;
            }
            let to = (&mut rows, &mut room);
            at = self.filter.add_rows(record, after, &self.decoder, to);
        }
        Read::Rows(rows, at)
    }
}

fn broken_off<E>(_: E) -> Unavailable {
    Unavailable::Away("reading was broken off".to_owned())
}

impl Gap {
    /// How many bodies are left out.
    pub(super) fn bodies(self) -> u64 {
        self.to + 1 - self.from
    }
}

/// How many bodies are read at a time.
const BATCH: usize = 64;

/// How many bytes of rows are made at a time, and about how many wait at most.
const ROOM: usize = 128 * 1024;

#[cfg(test)]
pub(super) mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use tokio::time::timeout;

    use super::*;
    use crate::Received;
    use crate::clock::SystemClock;
    use crate::journal::contract::{WINDOW, entry, new};
    use crate::journal::{Entry, Events, Log as _, Memory};

    /// At the beginning of a journal with 100 bodies, of which the oldest are not at hand.
    pub(in super::super) async fn reader(filter: &Arc<RowFilter>, news: &News) -> EventReader {
        let journal = Memory::new(Arc::new(SystemClock), 1);
        for number in 1..=100 {
            let received = Received::new("source", "x".repeat(64 * 1024));
            new(&journal, entry(received, number, WINDOW)).await;
        }
        assert!(journal.tail().range(0, 1).is_empty());
        let source = Source {
            journal: Arc::new(journal),
            decoder: Arc::new(Decoder::new([], 1024)),
            filter: Arc::clone(filter),
        };
        EventReader::new(source, news.clone(), Place::behind(0))
    }

    pub(in super::super) fn of_no_session() -> Arc<RowFilter> {
        Arc::new(RowFilter {
            session: Some("none".to_owned()),
            ..RowFilter::default()
        })
    }

    #[actix_web::test]
    async fn one_viewer_reads_at_a_time() {
        let news = News::new();
        let mut reader = reader(&Arc::default(), &news).await;
        let turn = news.turn().await;
        let next = timeout(Duration::from_millis(100), reader.next()).await;
        assert!(next.is_err(), "{next:?}");
        drop(turn);
        for number in 1..=100 {
            let next = reader.next().await.unwrap();
            assert!(
                matches!(&next, Next::Row(row) if row.seq == number),
                "{next:?}"
            );
        }
        assert!(matches!(reader.next().await, Ok(Next::End)));
        drop(timeout(Duration::from_secs(10), news.turn()).await.unwrap());
    }

    #[actix_web::test]
    async fn a_log_that_goes_back_is_read_again() {
        let mut reader = reader(&Arc::default(), &News::new()).await;
        while !matches!(reader.next().await.unwrap(), Next::End) {}
        let journal = Arc::clone(&reader.source.journal);
        journal.tail().reset(98);
        new(
            journal.as_ref(),
            entry(Received::new("source", "x"), 101, WINDOW),
        )
        .await;
        timeout(Duration::from_secs(60), reader.wait())
            .await
            .unwrap();
        for number in 99..=101 {
            let next = reader.next().await.unwrap();
            assert!(
                matches!(&next, Next::Row(row) if row.seq == number),
                "{next:?}"
            );
        }
    }

    #[actix_web::test]
    async fn who_waits_for_its_turn_holds_no_bodies() {
        let news = News::new();
        let mut reader = reader(&Arc::default(), &news).await;
        // It is in memory, and is to be decoded.
        let encoded = Entry {
            events: Events::Unread,
            ..entry(Received::new("source", "{}"), 101, WINDOW)
        };
        let journal = Arc::clone(&reader.source.journal);
        journal.append(encoded).await.unwrap();
        reader.at = Place::behind(100);
        let newest = journal.tail().get(101).unwrap();
        let held = Arc::strong_count(&newest);
        let turn = news.turn().await;
        let mut next = pin!(reader.next());
        assert!(next.as_mut().now_or_never().is_none(), "it waits");
        assert_eq!(Arc::strong_count(&newest), held);
        drop(turn);
        let next = next.await.unwrap();
        assert!(
            matches!(&next, Next::Row(row) if row.seq == 101),
            "{next:?}"
        );
    }

    #[actix_web::test]
    async fn what_a_filter_leaves_out_is_left_out_step_by_step() {
        let news = News::new();
        let mut reader = reader(&of_no_session(), &news).await;
        let mut steps = 0;
        while let Next::LeftOut = reader.next().await.unwrap() {
            steps += 1;
        }
        assert!(steps > 1 && reader.has_caught_up());
        assert_eq!(reader.untold_place(), Some(Place::behind(100)));
        assert_eq!(reader.untold_place(), None);
    }
}
