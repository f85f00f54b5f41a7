//! [`Tail`]: the newest records of a journal, in memory, for consumers that keep up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::position::Seq;
use super::record::{Events, Record};
use crate::{Event, Timestamp};

/// The newest records, as many as `MAX_BYTES` allows, and the number of the
/// newest one, for which callers can wait.
#[derive(Debug)]
pub struct Tail {
    records: Mutex<TailRecords>,
    head: watch::Sender<Seq>,
    /// How often it has begun again at an earlier record.
    resets: watch::Sender<u64>,
    /// Retention has removed every record up to here.
    removed: AtomicU64,
    /// How often bodies were deleted.
    deletions: AtomicU64,
}

#[derive(Debug, Default)]
struct TailRecords {
    newest: VecDeque<Weighed>,
    bytes: usize,
    /// The head of each time that the tail has begun again.
    reset_to: Vec<Seq>,
}

/// A record with its [`weight`]: the record that leaves the tail was last read long ago, and reading it again to weigh
/// it would wait for the memory.
#[derive(Debug)]
struct Weighed {
    record: Arc<Record>,
    weight: usize,
}

impl From<Record> for Weighed {
    fn from(record: Record) -> Self {
        Self {
            weight: weight(&record),
            record: Arc::new(record),
        }
    }
}

impl TailRecords {
    /// Returns where the record is, or would be if it is newer than all; `None` if it is older.
    fn index(&self, seq: Seq) -> Option<usize> {
        let first = self.newest.front()?.record.seq;
        usize::try_from(seq.checked_sub(first)?).ok()
    }

    fn push(&mut self, record: Record) {
        let record = Weighed::from(record);
        self.bytes += record.weight;
        self.newest.push_back(record);
    }

    fn pop_oldest(&mut self) -> Option<Arc<Record>> {
        let oldest = self.newest.pop_front()?;
        self.bytes -= oldest.weight;
        Some(oldest.record)
    }
}

impl Tail {
    /// Makes an empty tail; the journal's newest record is `head`.
    pub fn new(head: Seq) -> Self {
        Self {
            records: Mutex::default(),
            head: watch::Sender::new(head),
            resets: watch::Sender::new(0),
            removed: AtomicU64::new(0),
            deletions: AtomicU64::new(0),
        }
    }

    /// Forgets records up to `seq`, because retention has removed them from the journal.
    pub fn remove_up_to(&self, seq: Seq) {
        self.removed.fetch_max(seq, Ordering::Relaxed);
        let mut tail = self.lock();
        while { tail.newest.front() }.is_some_and(|oldest| oldest.record.seq <= seq) {
            tail.pop_oldest();
        }
    }

    /// Replaces these records by what is left after their bodies were deleted at `at`. Wakes what waits for a newer
    /// record, so that it looks for deletions too.
    pub fn delete(&self, bodies: &[Seq], at: Timestamp) {
        let mut tail = self.lock();
        for seq in bodies {
            let Some(index) = tail.index(*seq) else {
                continue;
            };
            if let Some(found) = tail.newest.get_mut(index)
                && found.record.missing.is_none()
            {
                let left = Weighed::from(found.record.without_body(at));
                let freed = found.weight - left.weight;
                *found = left;
                tail.bytes -= freed;
            }
        }
        drop(tail);
        self.deletions.fetch_add(1, Ordering::SeqCst);
        self.head.send_modify(|_| {});
    }

    /// Returns how often bodies were deleted since this journal was opened, by this instance or another.
    pub fn deletions(&self) -> u64 {
        self.deletions.load(Ordering::SeqCst)
    }

    /// Begins again at `head`, because the log does not go further any more: a database was restored, or a standby
    /// took over that did not have the newest records. The records that come now have numbers that others had
    /// before. Who follows the log must notice: consumers end, the index is built again, and viewers go back.
    pub fn reset(&self, head: Seq) {
        let mut tail = self.lock();
        (tail.newest, tail.bytes) = (VecDeque::new(), 0);
        tail.reset_to.push(head);
        // Nothing of what comes was removed.
        self.removed.fetch_min(head, Ordering::Relaxed);
        self.resets.send_replace(tail.reset_to.len() as u64);
        self.head.send_replace(head);
    }

    /// Returns how often the tail has begun again, to wait for the next time.
    pub fn watch_resets(&self) -> watch::Receiver<u64> {
        self.resets.subscribe()
    }

    /// Returns how often the tail has begun again.
    pub fn resets(&self) -> u64 {
        *self.resets.borrow()
    }

    /// Returns the lowest number at which the tail has begun again since it had done so `count` times; `None` if it
    /// has not.
    pub fn reset_since(&self, count: u64) -> Option<Seq> {
        let tail = self.lock();
        let later = tail.reset_to.iter().skip(count as usize);
        later.min().copied()
    }

    /// Returns the number up to which retention has removed records since this journal was opened.
    pub fn removed(&self) -> Seq {
        self.removed.load(Ordering::Relaxed)
    }

    /// Adds records that have become durable, in order. Returns those that have no room any more, so that freeing
    /// them holds up no reader.
    pub fn publish(&self, records: impl IntoIterator<Item = Record>) -> Vec<Arc<Record>> {
        let mut tail = self.lock();
        let (mut head, mut old) = (None, Vec::new());
        for record in records {
            head = Some(record.seq);
            tail.push(record);
        }
        while tail.bytes > MAX_BYTES
            && let Some(oldest) = tail.pop_oldest()
        {
            old.push(oldest);
        }
        drop(tail);
        if let Some(head) = head {
            self.head.send_replace(head);
        }
        old
    }

    /// Returns the number of the newest record.
    pub fn head(&self) -> Seq {
        *self.head.borrow()
    }

    /// Returns a receiver to wait for a newer record.
    pub fn watch(&self) -> watch::Receiver<Seq> {
        self.head.subscribe()
    }

    /// Returns the record, if it is still in memory.
    pub fn get(&self, seq: Seq) -> Option<Arc<Record>> {
        let tail = self.lock();
        let found = tail.newest.get(tail.index(seq)?)?;
        Some(Arc::clone(&found.record))
    }

    /// Returns the records after `after`, at most `most`, in order; none if the first of them is no
    /// longer in memory. Costs one lock, however many there are.
    pub fn range(&self, after: Seq, most: usize) -> Vec<Arc<Record>> {
        let tail = self.lock();
        let Some(start) = tail.index(after.saturating_add(1)) else {
            return Vec::new();
        };
        let found = tail.newest.iter().skip(start).take(most);
        found.map(|found| Arc::clone(&found.record)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, TailRecords> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// About how many bytes a record takes in memory.
fn weight(record: &Record) -> usize {
    let body = record.received.body.len();
    let texts = match record.events {
        // Texts of the body are copied into its events.
        Events::Typed(_) => body,
        Events::Unread | Events::Outline(_) => 0,
    };
    body + texts + record.events.further_bytes() + RECORD_BYTES
}

/// What a record with one event takes beside its body and the event's texts.
const RECORD_BYTES: usize = 448 + size_of::<Event>();

/// Enough for about 4,000 short messages.
const MAX_BYTES: usize = 5 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Received;
    use crate::journal::{Events, Parts};

    fn record(seq: Seq, bytes: usize) -> Record {
        let received = Received::new("s", vec![b'x'; bytes]);
        Record {
            seq,
            kept_at: Timestamp::UNIX_EPOCH,
            parts: Parts::one(&received, 1),
            received: Arc::new(received),
            events: Events::Unread,
            missing: None,
        }
    }

    #[test]
    fn a_tail_that_begins_again_says_so() {
        let tail = Tail::new(0);
        let (mut head, mut resets) = (tail.watch(), tail.watch_resets());
        tail.publish((1..=9).map(|seq| record(seq, 1)));
        tail.remove_up_to(6);
        head.mark_unchanged();
        assert_eq!(
            (tail.reset_since(0), resets.has_changed().unwrap()),
            (None, false)
        );
        tail.reset(5);
        assert!(head.has_changed().unwrap() && resets.has_changed().unwrap());
        assert_eq!(
            (tail.head(), tail.removed(), tail.range(5, 9).len()),
            (5, 5, 0)
        );
        tail.publish([record(6, 1)]);
        assert_eq!(tail.get(6).map(|record| record.seq), Some(6));
        tail.reset(6);
        assert_eq!(*resets.borrow_and_update(), 2);
        let lowest = [0, 1, 2, 7].map(|count| tail.reset_since(count));
        assert_eq!(lowest, [Some(5), Some(6), None, None]);
    }

    #[test]
    fn a_range_is_what_memory_still_holds() {
        let tail = Tail::new(4);
        let numbers = |after, most| -> Vec<Seq> {
            let records = tail.range(after, most);
            records.iter().map(|record| record.seq).collect()
        };
        assert!(numbers(4, 10).is_empty());
        // The first two make room for the third.
        tail.publish([
            record(5, MAX_BYTES - RECORD_BYTES),
            record(6, MAX_BYTES / 2),
        ]);
        tail.publish((7..=9).map(|seq| record(seq, 1)));
        let table: [(Seq, usize, &[Seq]); 7] = [
            (0, 10, &[]),
            (4, 10, &[]),
            (5, 10, &[6, 7, 8, 9]),
            (6, 2, &[7, 8]),
            (8, 10, &[9]),
            (9, 10, &[]),
            (Seq::MAX - 1, usize::MAX, &[]),
        ];
        for (after, most, expected) in table {
            assert_eq!(numbers(after, most), expected, "{most} after {after}");
        }
        assert_eq!(tail.get(5).map(|record| record.seq), None);
        assert_eq!(tail.get(6).map(|record| record.seq), Some(6));
    }

    /// Bodies of 50 KB may have 16,384 events.
    #[test]
    fn each_event_of_a_body_counts() {
        let tail = Tail::new(0);
        let events = vec![Event::Status(crate::StatusEvent::default()); 2000];
        let events = Events::from(events);
        let of_many = |seq| Record {
            events: events.clone(),
            ..record(seq, 1000)
        };
        tail.publish((1..=100).map(of_many));
        let kept = tail.range(
            100 - MAX_BYTES as Seq / (2000 * size_of::<Event>()) as Seq,
            100,
        );
        assert!(kept.len() * 2000 * size_of::<Event>() <= MAX_BYTES);
        assert!(tail.get(100).is_some() && tail.get(90).is_none());
    }
}
